"""A tokenizer in the file's form: tokens, their kinds, merges or scores, special ids, the chat template.

Read from the rules as Transformers applies them (it rebuilds some tokenizers and ignores their files), not from tokenizer.json. Two
forms: byte-level merges, which llama.cpp calls gpt2, and merges over characters with <0xNN> for the rest, which it calls llama.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from luthier.export.gguf.container import Key
from luthier.floor.errors import ModelError
from luthier.knowledge.pretokenizers import DIGITS, GPT2, PRE_TOKENIZERS, find_pretokenizer
from luthier.text.tokenizer import stop_ids

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # enum llama_token_type
BLANK = "▁"
BYTES = frozenset(f"<0x{byte:02X}>" for byte in range(256))
# What SentencePiece gives to tokens that no merge makes.
LEAST_SCORE = -1e6


@dataclass(frozen=True)
class Vocabulary:
    """Everything by which llama.cpp makes ids of text."""

    keys: tuple[Key, ...]
    rule: str
    """`gpt2` with its way to cut texts, or `llama`."""
    is_normalizing: bool
    """Our tokenizer brings texts into Unicode NFC first, and llama.cpp does not."""


def read_vocabulary(tokenizer: PreTrainedTokenizerBase, *, vocabulary_tokens: int, where: str) -> Vocabulary:
    """The tokenizer's form in a file whose embedding has `vocabulary_tokens` rows.

    Raises ModelError gguf-tokenizer if llama.cpp has no tokenizer with these rules.
    """
    rules: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    model = rules["model"]
    if model.get("type") != "BPE":
        raise _unknown(
            where, f"it is a {model.get('type')} tokenizer", "llama.cpp form that Luthier writes has merges"
        )
    most = max(tokenizer.get_vocab().values())
    if most >= vocabulary_tokens:
        raise _unknown(where, f"it gives ids up to {most:,}, the embedding has {vocabulary_tokens:,} rows")
    if any(model.get(key) for key in ("continuing_subword_prefix", "end_of_word_suffix", "dropout")):
        raise _unknown(where, "its merges carry a prefix, a suffix or dropout")
    form = _character_form if model.get("byte_fallback") else _byte_form
    keys, rule, is_normalizing = form(rules, vocabulary_tokens, where)
    return Vocabulary((*keys, *_special_keys(tokenizer), *_template_keys(tokenizer)), rule, is_normalizing)


def _byte_form(rules: dict[str, Any], tokens: int, where: str) -> tuple[list[Key], str, bool]:
    model = rules["model"]
    is_normalizing = _check_normalizer(rules.get("normalizer"), where)
    steps = _steps(rules.get("pre_tokenizer"), where)
    ignores = bool(model.get("ignore_merges"))
    rule = find_pretokenizer(steps, ignores_merges=ignores)
    if rule is None:
        known = ", ".join(each.name for each in PRE_TOKENIZERS)
        raise _unknown(
            where,
            f"no pre-tokenizer that Luthier knows of llama.cpp cuts by {' then '.join(map(repr, steps))}"
            f"{' and prefers whole tokens to merges' if ignores else ''}",
            f"Known are {known}.",
        )
    texts, kinds = _tokens(rules, tokens)
    keys = [
        Key("tokenizer.ggml.model", "gpt2"),
        Key("tokenizer.ggml.pre", rule.name),
        Key("tokenizer.ggml.tokens", texts),
        Key("tokenizer.ggml.token_type", kinds),
        Key("tokenizer.ggml.merges", [f"{left} {right}" for left, right in _merges(model)]),
    ]
    return keys, f"gpt2, {rule.name}", is_normalizing


def _character_form(rules: dict[str, Any], tokens: int, where: str) -> tuple[list[Key], str, bool]:
    """llama.cpp merges what scores highest, so a token scores by the first merge that makes it."""
    model = rules["model"]
    puts_blank = _puts_blank_first(rules, where)
    texts, kinds = _tokens(rules, tokens)
    rank: dict[str, int] = {}
    for place, (left, right) in enumerate(_merges(model)):
        rank.setdefault(left + right, place)
    scores = [float(-rank[text]) if text in rank else LEAST_SCORE for text in texts]
    for token, text in enumerate(texts):
        if text in BYTES:
            kinds[token] = BYTE
        elif text == model.get("unk_token"):
            kinds[token] = UNKNOWN
        if kinds[token] == USER_DEFINED:
            texts[token] = text.replace(BLANK, " ")
    keys = [
        Key("tokenizer.ggml.model", "llama"),
        Key("tokenizer.ggml.pre", "default"),
        Key("tokenizer.ggml.tokens", texts),
        Key("tokenizer.ggml.scores", scores),
        Key("tokenizer.ggml.token_type", kinds),
        Key("tokenizer.ggml.add_space_prefix", puts_blank),
        Key("tokenizer.ggml.remove_extra_whitespaces", False),
    ]
    return keys, "llama", False


def _tokens(rules: dict[str, Any], count: int) -> tuple[list[str], list[int]]:
    """Text and kind of every id; ids that nothing has are unused."""
    texts, kinds = [f"[PAD{token}]" for token in range(count)], [UNUSED] * count
    for text, token in rules["model"]["vocab"].items():
        texts[token], kinds[token] = text, NORMAL
    for added in rules["added_tokens"]:
        texts[added["id"]] = added["content"]
        kinds[added["id"]] = CONTROL if added["special"] else USER_DEFINED
    return texts, kinds


def _merges(model: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (pair[0], pair[1]) if isinstance(pair, list) else tuple(pair.split(" ", 1))
        for pair in model["merges"]
    ]


def _check_normalizer(normalizer: dict[str, Any] | None, where: str) -> bool:
    """Whether texts are brought into NFC; raises for anything else that would change them."""
    kinds = [step["type"] for step in _flat(normalizer, "normalizers")]
    if any(kind != "NFC" for kind in kinds):
        raise _unknown(where, f"it changes texts by {', '.join(kinds)} before it cuts them")
    return bool(kinds)


def _steps(pre_tokenizer: dict[str, Any] | None, where: str) -> tuple[str, ...]:
    """The patterns by which texts are cut, in order. Raises for a step that is no pattern."""
    patterns: list[str] = []
    for step in _flat(pre_tokenizer, "pretokenizers"):
        kind = step["type"]
        if kind == "ByteLevel" and not step.get("add_prefix_space"):
            patterns += [GPT2] if step.get("use_regex", True) else []
        elif kind == "Digits" and step.get("individual_digits"):
            patterns.append(DIGITS)
        elif kind == "Split" and step.get("behavior") == "Isolated" and not step.get("invert"):
            pattern = step["pattern"]
            patterns.append(pattern.get("Regex") or pattern.get("String", ""))
        else:
            raise _unknown(
                where, f"its step {json.dumps(step, ensure_ascii=False)[:120]} cuts as llama.cpp does not"
            )
    return tuple(patterns)


def _puts_blank_first(rules: dict[str, Any], where: str) -> bool:
    """Whether a blank is put before a text. Raises for a normalizer that does more than SentencePiece's blanks."""
    puts = False
    for step in _flat(rules.get("normalizer"), "normalizers"):
        if step["type"] == "Prepend" and step["prepend"] == BLANK:
            puts = True
        elif not (step["type"] == "Replace" and step["content"] == BLANK):
            raise _unknown(where, f"it changes texts by {step['type']} before it cuts them")
    for step in _flat(rules.get("pre_tokenizer"), "pretokenizers"):
        if step["type"] == "Metaspace" and step.get("replacement") == BLANK:
            puts = step.get("prepend_scheme") in ("always", "first")
        elif step["type"] != "Split":
            raise _unknown(where, f"its step {step['type']} cuts as llama.cpp does not")
    return puts


def _flat(step: dict[str, Any] | None, inner: str) -> list[dict[str, Any]]:
    if step is None:
        return []
    if step["type"] == "Sequence":
        return [each for part in step[inner] for each in _flat(part, inner)]
    return [step]


def _special_keys(tokenizer: PreTrainedTokenizerBase) -> list[Key]:
    """The ids of special tokens, and whether a prompt begins or ends with one: as the tokenizer does it, not as a file says."""
    known = {
        "bos": tokenizer.bos_token_id,
        "eos": tokenizer.eos_token_id,
        "unknown": tokenizer.unk_token_id,
        "padding": tokenizer.pad_token_id,
    }
    turn_ends = [token for token in stop_ids(tokenizer) if token != tokenizer.eos_token_id]
    if turn_ends:
        known["eot"] = turn_ends[0]
    keys = [
        Key(f"tokenizer.ggml.{name}_token_id", token) for name, token in known.items() if token is not None
    ]
    ids: Sequence[int] = tokenizer("a", add_special_tokens=True)["input_ids"]
    return [
        *keys,
        Key("tokenizer.ggml.add_bos_token", ids[0] == tokenizer.bos_token_id),
        Key("tokenizer.ggml.add_eos_token", len(ids) > 1 and ids[-1] == tokenizer.eos_token_id),
    ]


def _template_keys(tokenizer: PreTrainedTokenizerBase) -> list[Key]:
    template = tokenizer.chat_template
    return [Key("tokenizer.chat_template", template)] if isinstance(template, str) and template else []


def _unknown(where: str, what: str, why: str = "") -> ModelError:
    return ModelError(
        "gguf-tokenizer",
        f"llama.cpp has no tokenizer with these rules: {what}",
        where=where,
        why=why or "It would read other tokens than the model was trained with.",
        fix="Serve the merged folder with another engine.",
    )
