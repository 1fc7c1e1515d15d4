"""How byte-level tokenizers cut a text before they merge, and what llama.cpp calls each way.

A rule is written as Hugging Face's tokenizers write it, step by step; the names are those of llama.cpp 0.5.0 (src/llama-vocab.cpp),
whose own pattern for the name was read beside each. Two tokenizers with the same rules are the same to llama.cpp, whoever made them.
"""

from dataclasses import dataclass

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""What tokenizers' ByteLevel step with use_regex applies."""
DIGITS = r"\p{N}"
"""What tokenizers' Digits step with individual_digits applies."""
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_SIGNS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+", rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
_CASED_SIGNS = r" ?[^\s\p{L}\p{N}]+[\r\n/]*"
QWEN2 = rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}|{_SIGNS}|{_SPACES}"
LLAMA3 = rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}{{1,3}}|{_SIGNS}|{_SPACES}"
QWEN35 = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_SPACES}"
SEED_CODER = rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}{{1}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{_SPACES}"
TEKKEN = rf"{_CASED[0]}|{_CASED[1]}|\p{{N}}|{_CASED_SIGNS}|{_SPACES}"
GPT4O = rf"{_CASED[0]}{_CONTRACTIONS}?|{_CASED[1]}{_CONTRACTIONS}?|\p{{N}}{{1,3}}|{_CASED_SIGNS}|{_SPACES}"


@dataclass(frozen=True)
class PreTokenizer:
    """One rule that llama.cpp has."""

    name: str
    """`tokenizer.ggml.pre` of the file."""
    steps: tuple[str, ...]
    """Patterns, applied one after the other: each cuts the pieces of the one before, and what it matches is a piece."""
    ignores_merges: bool = False
    """A piece that is a token as a whole is that token, whatever the merges say."""


PRE_TOKENIZERS = (
    PreTokenizer("qwen2", (QWEN2,)),
    PreTokenizer("qwen35", (QWEN35,)),
    PreTokenizer("llama-bpe", (LLAMA3,), ignores_merges=True),
    PreTokenizer("dbrx", (LLAMA3,)),
    PreTokenizer("gpt-2", (GPT2,)),
    PreTokenizer("smollm", (DIGITS, GPT2)),
    PreTokenizer("tekken", (TEKKEN,), ignores_merges=True),
    PreTokenizer("gpt-4o", (GPT4O,)),
    PreTokenizer("seed-coder", (SEED_CODER,)),
)


def find_pretokenizer(steps: tuple[str, ...], *, ignores_merges: bool) -> PreTokenizer | None:
    """llama.cpp's name for these rules, or None if it has none."""
    return next(
        (rule for rule in PRE_TOKENIZERS if rule.steps == steps and rule.ignores_merges == ignores_merges),
        None,
    )
