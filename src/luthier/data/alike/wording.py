"""What deduplication compares: keys for what is the same, tokens and shingles for what is nearly the same.

Three ways of being alike, from strict to loose:
exact    every field after NFC and white space (runs to one blank, none at the ends); case and punctuation count, since `ls -l`
         and `ls -L`, or `2+2` and `2-2`, are different rows;
shingles runs of three tokens of the whole row after NFKC and casefold; a token is a word or one sign, and in scripts that
         write no blanks between words one character;
folded   prompts only, to list conflicts: NFKC, casefold, everything but letters and digits to one blank.
"""

import re
import unicodedata
from dataclasses import dataclass
from hashlib import blake2b

from luthier.text.row import Message, Row, Tokens

SHINGLE_TOKENS = 3
PAD = ""  # no token is empty: a row of one or two tokens gets one shingle that no longer row has
# An answer this short is a label or a value: one token changed makes it another answer, however alike the rows are.
LABEL_TOKENS = 10
KEY_BYTES = 16

# Thai, Lao, Burmese, Khmer, kana, Chinese characters: written without blanks between words.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_TOKEN = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+|[^\w\s]")
_NOT_LETTERS = re.compile(r"[\W_]+")

Shingle = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Wording:
    """A row as deduplication sees it. `prompt` is None for plain text, which asks nothing."""

    fields: tuple[str, ...]
    prompt: str | None
    answer: str
    body: str
    is_text: bool = True
    """False for rows of tokens, whose ids stand in the place of words and mean nothing."""


def wording_of(row: Row) -> Wording:
    """The texts of a row; of a conversation the turns before the first answer are its prompt."""
    if row.kind == "text":
        return Wording((row.text,), None, "", row.text)
    if row.tokens is not None:
        return _wording_of_tokens(row.tokens)
    if row.kind == "prompt_completion":
        body = f"{row.prompt}\n{row.completion}"
        return Wording((row.prompt, row.completion), row.prompt, row.completion, body)
    messages = (*row.messages, *row.chosen, *row.rejected)
    roles = [message.role for message in messages]
    contents = [_said(message) for message in messages]
    first = roles.index("assistant") if "assistant" in roles else len(roles)
    weights = tuple(f"weight 0 of {at}" for at, message in enumerate(messages) if not message.weight)
    fields = (*(text for pair in zip(roles, contents, strict=True) for text in pair), row.tools, *weights)
    return Wording(fields, "\n".join(contents[:first]), "\n".join(contents[first:]), "\n".join(contents))


def _wording_of_tokens(tokens: Tokens) -> Wording:
    """Ids in the place of words: rows are the same by ids and mask, and near by the runs of three ids that they share."""
    ids, asked = (" ".join(map(str, memoryview(each).cast("I"))) for each in (tokens.ids, tokens.asked))
    is_asking = len(tokens.asked) < len(tokens.ids)
    answer = ids[len(asked) :].strip() if is_asking else ""
    return Wording((ids, tokens.learnt.hex()), asked if is_asking else None, answer, ids, is_text=False)


def _said(message: Message) -> str:
    """What a message says and what it calls."""
    return "\n".join(message.texts())


def squeeze(text: str) -> str:
    """NFC, every run of white space one blank, none at the ends."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def fold(text: str) -> str:
    """NFKC, casefolded, letters and digits only; a text of signs alone stays as it is, or all such would be the same."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(_NOT_LETTERS.sub(" ", folded).split()) or squeeze(text)


def exact_key(wording: Wording) -> bytes:
    """Equal for rows whose fields are the same after `squeeze`. 128 bits: no two different rows share it by chance."""
    return blake2b("\0".join(map(squeeze, wording.fields)).encode(), digest_size=KEY_BYTES).digest()


def short_key(text: str) -> bytes:
    """A hash of 64 bits, for what is listed and never dropped."""
    return blake2b(text.encode(), digest_size=8).digest()


def tokens_of(text: str) -> list[str]:
    """Words, signs and unspaced characters in order."""
    return _TOKEN.findall(unicodedata.normalize("NFKC", text).casefold())


def pad(tokens: list[str]) -> list[str]:
    """At least one shingle's worth of tokens."""
    return tokens + [PAD] * (SHINGLE_TOKENS - len(tokens))


def shingles_of(tokens: list[str]) -> frozenset[Shingle]:
    """The different runs of three tokens."""
    padded = pad(tokens)
    return frozenset(zip(padded, padded[1:], padded[2:], strict=False))


def jaccard(left: frozenset[Shingle], right: frozenset[Shingle]) -> float:
    """Shared shingles over all shingles."""
    shared = len(left & right)
    return shared / (len(left) + len(right) - shared)


def label_key(wording: Wording) -> int:
    """64 bits of the label; 0 without one."""
    label = label_of(wording)
    return 0 if label is None else int.from_bytes(short_key("\0".join(label)), "little", signed=True)


def label_of(wording: Wording) -> tuple[str, ...] | None:
    """The answer's tokens, case kept, if it is short enough to be a label; None for long answers and plain text."""
    if wording.prompt is None:
        return None
    tokens = _TOKEN.findall(unicodedata.normalize("NFKC", wording.answer))
    return tuple(tokens) if len(tokens) < LABEL_TOKENS else None
