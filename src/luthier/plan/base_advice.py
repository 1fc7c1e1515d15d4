"""Which base to train from: the guide's framework (its section 9) over candidates that are judged by evidence.

Flexibility falls from bases over models that went on with text of one domain to tuned and aligned ones. New patterns and new
behaviour want a base; only work inside a domain that a model already has is better begun from that model.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from luthier.knowledge.base_evidence import Evidence, judge_folder, judge_name
from luthier.knowledge.licence_files import licence_of_folder
from luthier.knowledge.licences import licence_of_base
from luthier.knowledge.model_config import read_config, text_config
from luthier.knowledge.model_folder import EMBEDDED, check_model_folder, find_local_model
from luthier.knowledge.parameter_count import count_parameters
from luthier.knowledge.shapes import PUBLISHED, SHAPES
from luthier.knowledge.training_memory import DecoderShape
from luthier.reports.base_advice import (
    BaseAdvice,
    Candidate,
    Confidence,
    EvidencePiece,
    Suits,
    Task,
)

# What the guide recommends where nobody named candidates.
RECOMMENDED = ("Qwen/Qwen2.5-0.5B", "meta-llama/Llama-3.2-1B")
MOST_SAMPLE_BYTES = 2**20
# Below it a model has hardly seen enough to know facts.
SMALL = 100_000_000
ORDER: tuple[Suits, ...] = ("yes", "with care", "no")
CONFIDENCES: tuple[Confidence, ...] = ("low", "medium", "high")
TASKS = {
    "novel": "new patterns, languages or formats",
    "extend": "more of what the model knows already",
    "behaviour": "another behaviour, style or set of rules",
}


@dataclass(frozen=True)
class Question:
    """What the base is for."""

    task: Task
    domain: str | None
    rows: Path | None
    bits_per_byte: Mapping[str, float] = field(default_factory=dict)
    """Of candidates that were measured on the rows, by name."""


def advise(names: Sequence[str], question: Question) -> BaseAdvice:
    """Judge every candidate and choose. Raises ModelError for a folder that is no model."""
    sample = _sample(question.rows) if question.rows else None
    found = [_candidate(name, question, sample) for name in names or RECOMMENDED]
    ranked = sorted(found, key=lambda each: (ORDER.index(each.suits), -_rank(each.kind_confidence), _cost(each)))  # fmt: skip
    best = ranked[0]
    is_any = best.suits != "no"
    return BaseAdvice(
        task=question.task,
        domain=question.domain,
        rows=str(question.rows) if question.rows else None,
        candidates=tuple(ranked),
        recommended=best.name if is_any else None,
        why=best.why
        if is_any
        else f"none of them suits {TASKS[question.task]}: take a base, such as {RECOMMENDED[0]}",
        confidence=best.kind_confidence if is_any else "medium",
    )


def suits(evidence: Evidence, question: Question) -> tuple[Suits, str]:
    """Whether a model is a right start for the task, and why, by the guide's table of right and wrong choices."""
    aim = TASKS[question.task]
    if evidence.kind == "tuned":
        return (
            "no",
            f"it was tuned already, which holds its behaviour fast: {aim} would have to undo that first",
        )
    if evidence.kind == "unsure":
        return "with care", "whether it is a base cannot be told from its files; look at its card"
    if evidence.kind == "specialized":
        if question.task == "extend" and (question.domain is None or question.domain == evidence.domain):
            return "yes", f"it went on with text of {evidence.domain}, and the task stays there"
        return "no", f"it went on with text of {evidence.domain}, and resists {aim}"
    if question.task == "extend" and question.domain is not None:
        return (
            "with care",
            f"a base learns {question.domain}, but a model that has read much of it starts ahead",
        )
    return "yes", f"it is a base: the most flexible start for {aim}"


def _candidate(name: str, question: Question, sample: bytes | None) -> Candidate:
    folder = find_local_model(name)
    evidence = judge_folder(folder, name) if folder is not None else judge_name(name)
    verdict, why = suits(evidence, question)
    parameters, context = _sizes(folder, name)
    if verdict == "yes" and parameters is not None and parameters < SMALL:
        verdict, why = "with care", f"{why}, but too small to know much: for trying, and for narrow tasks"
    licence = _licence(folder, name)
    return Candidate(
        name=name,
        is_here=folder is not None,
        kind=evidence.kind,
        kind_confidence=evidence.confidence,
        domain=evidence.domain,
        evidence=tuple(EvidencePiece(weight=piece.weight, says=piece.says) for piece in evidence.pieces),
        parameters=parameters,
        context_tokens=context,
        licence=licence,
        is_gated=evidence.is_gated,
        bytes_per_token=_bytes_per_token(folder, sample) if folder is not None and sample else None,
        bits_per_byte=question.bits_per_byte.get(name),
        suits=verdict,
        why=why,
        warnings=tuple(_warnings(evidence, licence, is_here=folder is not None)),
    )


def _warnings(evidence: Evidence, licence: str | None, *, is_here: bool) -> list[str]:
    found = []
    if not is_here:
        found.append("it is not on this machine: only its name was judged")
    if evidence.is_gated:
        found.append("its licence has to be accepted on the hub before it can be fetched")
    if licence is None:
        found.append("no licence is known: read its card before you train")
    if evidence.derived_from:
        found.append(f"it was made from {evidence.derived_from}, whose licence counts, too")
    return found


def _sizes(folder: Path | None, name: str) -> tuple[int | None, int | None]:
    """Parameters and context, from headers, config.json or published sizes."""
    if folder is None:
        known = PUBLISHED.get(name.lower())
        config = SHAPES[known] if known else None
    else:
        config = read_config(folder)
        if any(folder.glob("*.safetensors")):
            context = text_config(config).get("max_position_embeddings")
            return check_model_folder(folder).parameters, context
    shape = DecoderShape.of(config) if config else None
    if config is None or shape is None:
        return None, None
    return count_parameters(config, shape), text_config(dict(config)).get("max_position_embeddings")


def _licence(folder: Path | None, name: str) -> str | None:
    """By the folder's card or licence, or by the name of a well-known base."""
    if name == EMBEDDED:
        return "apache-2.0"  # assets/embedded-base/README.md, section Licence
    found = (licence_of_folder(folder) if folder is not None else None) or licence_of_base(name)
    return found.name if found else None


def _sample(rows: Path) -> bytes:
    """The beginning of the rows, whole characters only."""
    with rows.open("rb") as file:
        return file.read(MOST_SAMPLE_BYTES).decode("utf-8", "ignore").encode()


def _bytes_per_token(folder: Path, sample: bytes) -> float | None:
    """Bytes of the sample a token; None for a tokenizer in another form."""
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.is_file() or not sample:
        return None
    tokens = len(Tokenizer.from_file(str(path)).encode(sample.decode(), add_special_tokens=False).ids)
    return len(sample) / tokens if tokens else None


def _rank(confidence: Confidence) -> int:
    return CONFIDENCES.index(confidence)


def _cost(candidate: Candidate) -> tuple[float, float]:
    """Fewer bits for the rows first, then fewer tokens."""
    bits = candidate.bits_per_byte
    return (math.inf if bits is None else bits, -(candidate.bytes_per_token or 0.0))
