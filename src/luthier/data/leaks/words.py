"""What the search for leaks compares: the question of a row, as words and as keys.

A leak is a *question* that stands on both sides, whatever is answered: the answer alone, such as a label, is no leak. So of the
row looked for only the question counts, while it may stand anywhere in the other row.
"""

import re
import unicodedata
from hashlib import blake2b

from luthier.data import question
from luthier.data.alike.wording import UNSPACED, fold
from luthier.floor.errors import DataError
from luthier.text.rows import Row

# GPT-3 (Brown et al. 2020, appendix C) compares words "ignoring all punctuation, whitespace, and casing", in runs of at most 13
# and at least 8. In scripts without blanks between words a character stands for a word, as in deduplication.
RUN_WORDS = 13
FEWEST_RUN_WORDS = 8
_WORD = re.compile(rf"[{UNSPACED}]|[^\W_{UNSPACED}]+")


def words_of(text: str) -> list[str]:
    """The words of a text, case and signs left out."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def question_of(row: Row) -> str:
    """What a row asks, in words. Raises DataError (data-field) for rows of tokens."""
    _need_text(row)
    return question.question_of(row)


def body_of(row: Row) -> str:
    """Everything a row says."""
    _need_text(row)
    if row.kind == "text":
        return row.text
    if row.kind == "prompt_completion":
        return f"{row.prompt}\n{row.completion}"
    return "\n".join(message.content for message in (*row.messages, *row.chosen, *row.rejected))


def _need_text(row: Row) -> None:
    """Raise DataError (data-field) for rows of tokens, of which nothing would be found and nothing proven."""
    if row.tokens is not None:
        raise DataError(
            "data-field",
            "the rows are tokens, and leaks are looked for in words",
            where=row.origin,
            fix="Look for leaks in the rows that they were made of, before they are tokenized.",
        )


def exact_key(question: str) -> int:
    """Equal for questions that are the same but for case and white space at the ends."""
    return _key(unicodedata.normalize("NFC", question).strip().casefold())


def folded_key(question: str) -> int:
    """Equal for questions that are the same but for case, punctuation and white space."""
    return _key(fold(question))


def _key(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def places_of_words(text: str) -> list[tuple[int, int]]:
    """Where each of `words_of(text)` stands in a text: its first character and the one behind its last.

    Words are found after NFKC, which can change the number of characters; each is told by the character that it came from.
    """
    normalized, sources = _with_sources(text)
    return [(sources[match.start()], sources[match.end() - 1] + 1) for match in _WORD.finditer(normalized)]


def _with_sources(text: str) -> tuple[str, list[int]]:
    """The text after NFKC and casefold, and which of its characters each new one came from."""
    whole = unicodedata.normalize("NFKC", text).casefold()
    if len(whole) == len(text):
        return whole, list(range(len(text)))
    pieces = [unicodedata.normalize("NFKC", character).casefold() for character in text]
    joined = "".join(pieces)
    sources = [place for place, piece in enumerate(pieces) for _ in piece]
    if joined == whole:
        return joined, sources
    # Characters that combine with their neighbours: spread the places evenly, which is near enough to show them.
    return whole, [place * len(text) // len(whole) for place in range(len(whole))]
