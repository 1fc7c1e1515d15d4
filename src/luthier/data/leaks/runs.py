"""Runs of words: hashes of every run in a text, the longest run that two texts share, and the runs that tell questions apart.

W: words of a text, T: runs of all questions in one line, G: questions.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from luthier.data.alike.shingles import WordHashes
from luthier.data.leaks.words import FEWEST_RUN_WORDS

# A run that stands in more questions than this is the set's own wording ("Which of the following is"), as Megatron-LM's
# decontamination has it with its --key-threshold.
MOST_QUESTIONS_OF_RUN = 10

Keys = NDArray[np.uint64]
Numbers = NDArray[np.int64]

# A polynomial modulo 2^64 (Karp, Rabin 1987), so that the hash of a run of any length is a difference of two sums. Odd numbers
# have an inverse there.
_BASE = 0x9E3779B97F4A7C15
_INVERSE = pow(_BASE, -1, 2**64)


class SharedRun(NamedTuple):
    """Where in a row's words and in a question's a run starts, and of how many words it is."""

    start: int
    other: int
    words: int


class RunHashes:
    """Hashes of words, and the powers that make those of runs from them."""

    def __init__(self) -> None:
        self._words = WordHashes()
        self.powers = self._inverses = np.empty(0, dtype=np.uint64)

    def runs(self, words: list[str]) -> "Runs":
        """The runs of a text."""
        if len(words) > len(self.powers):
            count = max(1024, 2 * len(words))
            self.powers, self._inverses = _powers(_BASE, count), _powers(_INVERSE, count)
        look_up = self._words.__getitem__
        hashes_W = np.fromiter((look_up(word) for word in words), dtype=np.uint64, count=len(words))
        sums = np.zeros(len(words) + 1, dtype=np.uint64)
        np.cumsum(hashes_W * self._inverses[: len(words)], out=sums[1:])
        return Runs(words, sums, self.powers)


class Runs:
    """The words of a text, with a hash for every run of them: the same words always have the same one."""

    def __init__(self, words: list[str], sums: Keys, powers: Keys) -> None:
        """Made by `RunHashes.runs`."""
        self.words = words
        self._sums = sums
        self._powers = powers
        self._places: dict[int, tuple[Keys, Numbers]] = {}

    def hashes(self, length: int) -> Keys:
        """One number a place where a run of so many words starts."""
        count = max(0, len(self.words) - length + 1)
        return np.asarray((self._sums[length : length + count] - self._sums[:count]) * self._powers[:count])

    def hashes_at(self, starts: Numbers, length: int) -> Keys:
        """The hashes of some runs of a length."""
        return np.asarray((self._sums[starts + length] - self._sums[starts]) * self._powers[starts])

    def longest_shared(self, others: "Runs", fewest: int) -> SharedRun | None:
        """The longest run found of at least `fewest` words in both, None if there is none. Hashes suggest, words decide.

        Linear in both lengths: of words that repeat here only their first place is tried.
        """
        wanted = others.hashes(fewest)
        keys, firsts = self._places_of(fewest)
        if not len(keys) or not len(wanted):
            return None
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        best: SharedRun | None = None
        behind = 0
        for other in np.flatnonzero(keys[at] == wanted).tolist():
            if other + fewest <= behind:
                continue  # inside the last run
            start = int(firsts[at[other]])
            length = _shared_length(self.words, start, others.words, other, at_least=fewest)
            if length >= fewest:
                behind = other + length
                best = SharedRun(start, other, length) if best is None or length > best.words else best
        return best

    def _places_of(self, length: int) -> tuple[Keys, Numbers]:
        """The different hashes of runs of a length, in order, and the first place of each."""
        if length not in self._places:
            self._places[length] = np.unique(self.hashes(length), return_index=True)
        return self._places[length]


def _powers(base: int, count: int) -> Keys:
    """1, base, its square and so on, modulo 2^64."""
    factors = np.full(count, base, dtype=np.uint64)
    factors[:1] = 1
    return np.cumprod(factors)


def _shared_length(left: list[str], start: int, right: list[str], other: int, *, at_least: int) -> int:
    """How many words are the same from two places on; 0 for fewer than `at_least`."""
    if left[start : start + at_least] != right[other : other + at_least]:
        return 0
    most = min(len(left) - start, len(right) - other)
    return next((n for n in range(at_least, most) if left[start + n] != right[other + n]), most)


@dataclass(frozen=True)
class Lookup:
    """Keys in order, and the question that each belongs to."""

    keys: Keys
    questions: Numbers

    @classmethod
    def of(cls, keys: Keys, questions: Numbers) -> "Lookup":
        """Put keys into order; equal ones keep theirs."""
        order = np.argsort(keys, kind="stable")
        return cls(keys[order], questions[order])

    def meets(self, wanted: Keys) -> tuple[Numbers, Numbers]:
        """Every pair of a place in `wanted` and a question that has that key."""
        starts = np.searchsorted(self.keys, wanted, "left")
        counts = np.searchsorted(self.keys, wanted, "right") - starts
        places = np.repeat(np.arange(len(wanted)), counts)
        steps = np.arange(len(places)) - np.repeat(np.cumsum(counts) - counts, counts)
        return places, self.questions[np.repeat(starts, counts) + steps]


@dataclass(frozen=True)
class TellingRuns:
    """The runs of eight words that few questions have: what questions are found by."""

    lookup: Lookup
    tell_G: Numbers
    """How many runs of a question tell it from the others."""
    rarest: dict[int, int]
    """Of questions whose runs all tell nothing, the one that the fewest have."""
    boilerplate: int
    """How many runs tell nothing."""

    @classmethod
    def choose(cls, runs: list[Keys]) -> "TellingRuns":
        """From the different runs of each question."""
        questions = np.repeat(np.arange(len(runs)), [len(each) for each in runs])
        found = Lookup.of(np.concatenate([np.empty(0, dtype=np.uint64), *runs]), questions)
        _, places_T, counts = np.unique(found.keys, return_inverse=True, return_counts=True)
        questions_with_run_T = counts[places_T]
        is_kept_T = questions_with_run_T <= MOST_QUESTIONS_OF_RUN
        tell_G = np.bincount(found.questions[is_kept_T], minlength=len(runs))
        order = np.lexsort((questions_with_run_T, found.questions))
        firsts = order[np.diff(found.questions[order], prepend=-1) != 0]
        firsts = firsts[tell_G[found.questions[firsts]] == 0]
        return cls(
            Lookup(found.keys[is_kept_T], found.questions[is_kept_T]),
            tell_G,
            dict(zip(found.questions[firsts].tolist(), found.keys[firsts].tolist(), strict=True)),
            int((counts > MOST_QUESTIONS_OF_RUN).sum()),
        )


class Wholes:
    """Questions in common wording throughout, of which only the whole tells anything.

    Each is known by one run of eight words and by its whole. Where the run stands, the whole can only stand around it, so that many
    questions with the same run cost one look for each place and length they have, not one each.
    """

    def __init__(self) -> None:
        self._forms: defaultdict[int, set[tuple[int, int]]] = defaultdict(set)
        self._questions: defaultdict[int, list[int]] = defaultdict(list)
        self._keys = np.empty(0, dtype=np.uint64)

    def add(self, question: int, runs: Runs, key: int) -> None:
        """Enter a question that has the run `key`."""
        offset = int(np.flatnonzero(runs.hashes(FEWEST_RUN_WORDS) == np.uint64(key))[0])
        self._forms[key].add((offset, len(runs.words)))
        whole = runs.hashes_at(np.zeros(1, dtype=np.int64), len(runs.words))
        self._questions[int(whole[0])].append(question)

    def close(self) -> None:
        """All are entered."""
        self._keys = np.array(sorted(self._forms), dtype=np.uint64)

    def within(self, runs: Runs) -> Iterator[tuple[int, int]]:
        """Questions that may stand whole in a text, each with the place where it would."""
        hashes_W = runs.hashes(FEWEST_RUN_WORDS)
        if not len(self._keys) or not len(hashes_W):
            return
        at_W = np.minimum(np.searchsorted(self._keys, hashes_W), len(self._keys) - 1)
        places = np.flatnonzero(self._keys[at_W] == hashes_W)
        for key in np.unique(hashes_W[places]).tolist():
            here = places[hashes_W[places] == np.uint64(key)]
            for offset, length in sorted(self._forms[key]):
                starts = here[(here >= offset) & (here - offset + length <= len(runs.words))] - offset
                wholes, firsts = np.unique(runs.hashes_at(starts, length), return_index=True)
                for whole, first in zip(wholes.tolist(), firsts.tolist(), strict=True):
                    for question in self._questions.get(whole, ()):
                        yield question, int(starts[first])
