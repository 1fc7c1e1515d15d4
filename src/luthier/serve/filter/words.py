"""Find the words and phrases of a list, by whole words and whatever their case, as `data.clean.words` counts them.

A look into a table for each word: a list of a hundred thousand costs what one of ten does.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from luthier.floor.errors import DataError
from luthier.screen.spans import Span

WORD = re.compile(r"\w+(?:['’]\w+)*")
_APOSTROPHES = ("'", "’")
MOST_LIST_BYTES = 2**24
# A word that was cut by the place where the search begins must not be taken for a whole one.
_LONGEST_WORD = 256


class WordSeeker:
    """Finds phrases of one or more words, whatever stands between the words."""

    def __init__(self, phrases: Iterable[str]) -> None:
        split = {tuple(word.casefold() for word in WORD.findall(phrase)) for phrase in phrases} - {()}
        self._phrases = frozenset(split)
        self._beginnings = frozenset(phrase[:cut] for phrase in split for cut in range(1, len(phrase)))
        self._most_words = max((len(phrase) for phrase in split), default=0)

    def find(self, text: str, start: int = 0) -> list[Span]:
        """The longest phrase that begins at a word counts; the next search begins behind it."""
        places = self._words(text, start)
        words = [text[one:end].casefold() for one, end in places]
        found: list[Span] = []
        at = 0
        while at < len(words):
            longest = self._longest_at(words, at)
            if longest:
                found.append(Span("word", places[at][0], places[at + longest - 1][1]))
            at += max(1, longest)
        return found

    def open_from(self, text: str, start: int = 0) -> int:
        """The word that may still grow, and the words before it with which a phrase begins."""
        places = self._words(text, start)
        end = len(text)
        place = end
        if places and text[places[-1][1] :] in ("", *_APOSTROPHES):
            place = places.pop()[0]
        words = [text[one:end].casefold() for one, end in places]
        for at in range(max(0, len(words) - self._most_words + 1), len(words)):
            if tuple(words[at:]) in self._beginnings:
                return places[at][0]
        return place

    def _words(self, text: str, start: int) -> list[tuple[int, int]]:
        matches = WORD.finditer(text, max(0, start - _LONGEST_WORD))
        return [match.span() for match in matches if match.start() >= start]

    def _longest_at(self, words: list[str], at: int) -> int:
        best, length = 0, 1
        while at + length <= len(words):
            phrase = tuple(words[at : at + length])
            best = length if phrase in self._phrases else best
            if phrase not in self._beginnings:
                break
            length += 1
        return best


def read_words(path: Path, *, where: str) -> list[str]:
    """The lines of a list without comments and empty ones. Raises DataError (data-words)."""
    try:
        if not path.is_file():
            raise _unusable(path, "is not a file", where)
        if path.stat().st_size > MOST_LIST_BYTES:
            raise _unusable(path, f"has more than {MOST_LIST_BYTES:,} bytes", where)
        lines = [line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as fault:
        raise _unusable(path, f"is not UTF-8 at byte {fault.start}", where) from fault
    except OSError as fault:
        raise _unusable(path, f"cannot be read: {fault.strerror}", where) from fault
    phrases = [line for line in lines if WORD.search(line)]
    if not phrases:
        raise _unusable(path, "holds no word", where)
    return phrases


def _unusable(path: Path, why: str, where: str) -> DataError:
    fix = "Name a text file with one word or phrase a line."
    return DataError("data-words", f"the word list {path} {why}", where=where, fix=fix)
