"""The most frequent runs of one to five words, in bounded memory.

Counts that cannot be among the most frequent are forgotten when there are too many, and how much that can hide is kept: lossy
counting, after Manku and Motwani, Approximate Frequency Counts over Data Streams, VLDB 2002, with the bound raised when room
is needed instead of at fixed places.
"""

import re
from collections.abc import Iterable, Iterator

from luthier.reports.survey import Ngram, NgramTable

LONGEST = 5
SHOWN = 12
MOST_HELD = 150_000  # of each length; about 300 bytes each
# What is longer than any word, such as base64, is counted in pieces: its length must not become ours.
WORD = re.compile(r"[^\W_]{1,30}(?:['’-][^\W_]{1,30}){0,4}")
MOST_WORDS_A_ROW = 20_000


class FrequentRuns:
    """Runs of `n` words with how often they came and in how many rows."""

    def __init__(self, n: int, *, most_held: int = MOST_HELD) -> None:
        self.n = n
        self.most_missed = 0
        self._most_held = most_held
        self._counts: dict[str, list[int]] = {}
        """Run to its count, rows, and the row that had it last."""

    def add(self, words: list[str], row: int) -> None:
        """Count the runs of one row."""
        for run in runs_of(words, self.n):
            found = self._counts.get(run)
            if found is None:
                if len(self._counts) >= self._most_held:
                    self._forget()
                self._counts[run] = [1, 1, row]
                continue
            found[0] += 1
            if found[2] != row:
                found[1] += 1
                found[2] = row

    def top(self, count: int = SHOWN) -> NgramTable:
        """The most frequent runs that came more than once, and of one frequency the first in the alphabet."""
        best = sorted(self._counts.items(), key=lambda each: (-each[1][0], each[0]))[:count]
        top = [Ngram(text=text, count=found[0], rows=found[1]) for text, found in best if found[0] > 1]
        return NgramTable(n=self.n, top=top, most_missed=self.most_missed)

    def _forget(self) -> None:
        """Drop the rarer half; a run that comes again starts anew, and may have lost what it had."""
        counts = sorted(found[0] for found in self._counts.values())
        bound = counts[len(counts) // 2]
        self._counts = {run: found for run, found in self._counts.items() if found[0] > bound}
        self.most_missed += bound


def words_of(text: str) -> list[str]:
    """Words, case folded: letters and digits, with the signs that join them."""
    return [found.group() for found, _ in zip(WORD.finditer(text.casefold()), range(MOST_WORDS_A_ROW))]  # noqa: B905  # the bound ends it


def runs_of(words: list[str], n: int) -> Iterator[str]:
    """Every run of `n` words."""
    return (" ".join(words[start : start + n]) for start in range(len(words) - n + 1))


def count_ngrams(texts: Iterable[tuple[int, str]]) -> list[NgramTable]:
    """The most frequent runs of one to five words of rows, given by number and text."""
    tables = [FrequentRuns(n) for n in range(1, LONGEST + 1)]
    for row, text in texts:
        words = words_of(text)
        for each in tables:
            each.add(words, row)
    return [each.top() for each in tables]
