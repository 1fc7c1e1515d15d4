"""Is a model a base, or was it tuned already? Judged from what lies in its folder, piece by piece, and from its name last and by whole words.

The guide tests a name for parts of it: "medium" holds "med", and a base with code in its text is called a coder. No single piece proves anything:
many bases ship a chat template, and a name can say what it likes. So each piece has a weight, positive for a tuned model and
negative for a base, and the sum is told with the pieces behind it. The weights are a judgement, not a fit.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from luthier.knowledge.hostile_json import read_object
from luthier.knowledge.token_rows import control_token_rows_are_trained
from luthier.knowledge.turn_tokens import TURN_ENDS
from luthier.reports.base_advice import Confidence, Kind

MOST_CARD_BYTES = 2**20
WORD = re.compile(r"[a-z]+|\d+")
# Words of a name that say what was done to a model after its pretraining.
TUNED_WORDS = frozenset(
    {"instruct", "chat", "it", "sft", "dpo", "orpo", "kto", "ppo", "grpo", "rlhf", "rlvr", "assistant", "aligned", "tulu", "zephyr",
     "hermes", "vicuna", "alpaca", "thinking", "reasoning", "distill"}
)  # fmt: skip
DOMAIN_WORDS = {
    "code": "code", "coder": "code", "codellama": "code", "starcoder": "code", "sql": "code", "sqlcoder": "code",
    "math": "mathematics", "mathstral": "mathematics",
    "med": "medicine", "medical": "medicine", "bio": "medicine", "biomedlm": "medicine", "biomistral": "medicine", "clinical": "medicine",
    "fin": "finance", "finance": "finance", "legal": "law", "law": "law",
}  # fmt: skip
BASE_WORDS = frozenset({"base", "pt", "pretrain", "pretrained"})
TUNED_TAGS = frozenset(
    {"conversational", "chat", "instruct", "dpo", "rlhf", "sft", "trl", "alignment-handbook"}
)
# From here on the sum is called: below a base, above tuned.
TUNED_FROM, BASE_UPTO = 1.5, 0.5


@dataclass(frozen=True)
class Piece:
    """One piece of evidence."""

    weight: float
    """Positive speaks for a tuned model, negative for a base."""
    says: str


@dataclass(frozen=True)
class Evidence:
    """What a folder says of a model's past."""

    kind: Kind
    domain: str | None
    """What its text was mostly about, where its name says so."""
    confidence: Confidence
    pieces: tuple[Piece, ...]
    derived_from: str | None
    """The model that the card says it was made from."""
    is_gated: bool


def judge_folder(folder: Path, name: str) -> Evidence:
    """Weigh what lies in a model folder, and its name. Raises ModelError for files that are no JSON."""
    card = read_card(folder / "README.md")
    pieces = [
        *_of_generation(folder),
        *_of_tokenizer(folder),
        *_of_card(card),
        *_of_name(name),
        *_of_token_rows(folder),
    ]
    return _weigh(name, pieces, card)


def judge_name(name: str) -> Evidence:
    """Weigh a name alone, of a model that is not here: with low confidence, whatever it says."""
    pieces = list(_of_name(name)) or [Piece(-0.5, "its name says nothing of a tuning")]
    found = _weigh(name, pieces, {})
    return replace(found, confidence="low")


def _weigh(name: str, pieces: list[Piece], card: dict[str, Any]) -> Evidence:
    domain = next((DOMAIN_WORDS[word] for word in words_of(name) if word in DOMAIN_WORDS), None)
    total = sum(piece.weight for piece in pieces)
    kind: Kind = "tuned" if total >= TUNED_FROM else "base" if total <= BASE_UPTO else "unsure"
    if kind == "base" and domain is not None:
        kind = "specialized"
    distance = abs(total - (TUNED_FROM + BASE_UPTO) / 2)
    return Evidence(
        kind=kind,
        domain=domain,
        confidence="high" if distance >= 2 else "medium" if distance >= 1 else "low",
        pieces=tuple(sorted(pieces, key=lambda piece: -abs(piece.weight))),
        derived_from=_first(card.get("base_model")),
        is_gated="extra_gated_prompt" in card or "extra_gated_fields" in card,
    )


def words_of(name: str) -> list[str]:
    """The words of a model's name without its owner: `Qwen2.5-Coder-7B-Instruct` has `coder` and `instruct`, and no `it`."""
    return WORD.findall(name.rsplit("/", 1)[-1].lower())


def read_card(path: Path) -> dict[str, Any]:
    """The metadata at the head of a model card; empty without one, or where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(MOST_CARD_BYTES)
    except OSError:
        return {}
    parts = text.split("---\n", 2)
    if len(parts) < 3 or parts[0].strip():
        return {}
    try:
        found = yaml.safe_load(parts[1])
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def _of_generation(folder: Path) -> Iterator[Piece]:
    """Settings for sampling are written for models that answer; a base has none, or the defaults."""
    found = _read(folder, "generation_config.json")
    ends = found.get("eos_token_id")
    if isinstance(ends, list) and len(ends) > 1:
        yield Piece(1.0, f"generation_config.json names {len(ends)} tokens that end an answer")
    if any(found.get(key) not in (None, 1, 1.0) for key in ("temperature", "top_p")) or found.get("do_sample"):  # fmt: skip
        yield Piece(0.75, "generation_config.json sets how to sample answers")


def _of_tokenizer(folder: Path) -> Iterator[Piece]:
    found = _read(folder, "tokenizer_config.json")
    end = found.get("eos_token")
    end = end.get("content") if isinstance(end, dict) else end
    if end in TURN_ENDS:
        yield Piece(1.0, f"the tokenizer's end of text is the end of a turn: {end}")
    elif isinstance(end, str):
        yield Piece(-0.5, f"the tokenizer's end of text is no end of a turn: {end}")
    has_template = bool(found.get("chat_template")) or any(folder.glob("chat_template*"))
    if has_template:
        yield Piece(0.25, "there is a chat template, as many bases have one")
    else:
        yield Piece(-1.0, "there is no chat template")


def _of_card(card: dict[str, Any]) -> Iterator[Piece]:
    parent, relation = _first(card.get("base_model")), card.get("base_model_relation")
    if parent:
        weight = {"quantized": 0.0, "adapter": 1.5, "merge": 1.0}.get(str(relation), 1.0)
        yield Piece(weight, f"the card says that it was made from {parent}" + (f" ({relation})" if relation else ""))  # fmt: skip
    tags = card.get("tags")
    told = sorted(TUNED_TAGS & {str(tag).lower() for tag in tags}) if isinstance(tags, list) else []
    if told:
        yield Piece(0.75, f"the card's tags say {', '.join(told)}")


def _of_name(name: str) -> Iterator[Piece]:
    words = words_of(name)
    if tuned := [word for word in words if word in TUNED_WORDS]:
        yield Piece(1.5, f"its name says {', '.join(tuned)}")
    if base := [word for word in words if word in BASE_WORDS]:
        yield Piece(-1.0, f"its name says {', '.join(base)}")


def _of_token_rows(folder: Path) -> Iterator[Piece]:
    """Tokens of a chat that were never trained have rows like those that no text has."""
    found = control_token_rows_are_trained(folder)
    if found is None:
        return
    trained, how = found
    yield Piece(1.0 if trained else -1.5, how)


def _read(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    return read_object(path, folder, code="mdl-config") if path.is_file() else {}


def _first(value: Any) -> str | None:
    if isinstance(value, list):
        value = value[0] if value else None
    return value if isinstance(value, str) and value else None
