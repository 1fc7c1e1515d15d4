"""Score rows and leave out those over a bound: a word list here, any other judge of profanity or toxicity by the same protocol.

No list is shipped: what is offensive depends on language, place and purpose, and lists that others made leave out whole groups of
people's texts (Dodge et al. 2021 on C4's). Matching is by whole words, so that Scunthorpe passes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from luthier.config.clean import WordListConfig
from luthier.data.clean.filter import Dropped, Kept, whole_text
from luthier.floor.errors import DataError
from luthier.floor.files import sha256_of
from luthier.text.rows import Row

WORD = re.compile(r"\w+(?:['’]\w+)*")
MOST_LIST_BYTES = 2**24


class Scorer(Protocol):
    """A judge of texts."""

    def score(self, text: str) -> float:
        """How much of the text is unwanted, from 0 to 1."""


class WordListScorer:
    """The share of a text's words that stand on a list, phrases with all their words."""

    def __init__(self, phrases: Iterator[tuple[str, ...]]) -> None:
        self._by_first: dict[str, list[tuple[str, ...]]] = {}
        for phrase in sorted(set(phrases), key=lambda phrase: (-len(phrase), phrase)):
            self._by_first.setdefault(phrase[0], []).append(phrase)

    def score(self, text: str) -> float:
        """Hits among all words; the longest phrase that begins at a word counts."""
        words = split_words(text)
        hits = place = 0
        while place < len(words):
            longest = self._longest_at(words, place)
            hits += longest
            place += max(1, longest)
        return hits / max(1, len(words))

    def _longest_at(self, words: tuple[str, ...], place: int) -> int:
        phrases = self._by_first.get(words[place], ())
        return next((len(phrase) for phrase in phrases if words[place : place + len(phrase)] == phrase), 0)


@dataclass(frozen=True, slots=True)
class ScoreFilter:
    """Leaves out, or only counts, the rows that a scorer puts over the bound."""

    scorer: Scorer
    most: float
    action: Literal["report", "drop"]
    name: str = "words"

    def apply(self, row: Row) -> Kept | Dropped:
        """Judge all texts of the row together."""
        score = self.scorer.score(whole_text(row))
        if score <= self.most:
            return Kept(row)
        found = {"rows over the bound": 1}
        if self.action == "report":
            return Kept(row, found)
        return Dropped(f"more than {self.most:g} of the words are on the list", f"{score:.4g}", found)


def word_list_filter(config: WordListConfig) -> ScoreFilter:
    """The filter `words`. Raises DataError (data-words) if the list cannot be read or is empty."""
    assert config.path is not None, "asked for without a list"
    return ScoreFilter(WordListScorer(read_word_list(Path(config.path))), config.most_fraction, config.action)


def read_word_list(path: Path) -> Iterator[tuple[str, ...]]:
    """The words and phrases of a list, folded; comments and empty lines are passed over."""
    lines = [line.partition("#")[0] for line in _read(path).splitlines()]
    phrases = [phrase for phrase in map(split_words, lines) if phrase]
    if not phrases:
        raise _unusable(path, "holds no word")
    return iter(phrases)


def hash_word_list(path: str) -> str:
    """The list as it is now, for the key of the prepared tokens."""
    _read(Path(path))
    return sha256_of(Path(path))


def split_words(text: str) -> tuple[str, ...]:
    """The words of a text, folded so that letter case makes no difference."""
    return tuple(WORD.findall(text.casefold()))


def _read(path: Path) -> str:
    if not path.is_file():
        raise _unusable(path, "is not a file")
    if path.stat().st_size > MOST_LIST_BYTES:
        raise _unusable(path, f"has more than {MOST_LIST_BYTES:,} bytes")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as fault:
        raise _unusable(path, f"is not UTF-8 at byte {fault.start}") from fault
    except OSError as fault:
        raise _unusable(path, f"cannot be read: {fault.strerror}") from fault


def _unusable(path: Path, why: str) -> DataError:
    return DataError(
        "data-words",
        f"the word list {path} {why}",
        where="data.clean.words.path",
        fix="Name a text file with one word or phrase a line.",
    )
