"""Find rows that are near each other among many that look alike, without comparing each with each.

An exact set-similarity join: the shingles of a row are put in order, rare ones first. Two rows that reach the threshold t must
share one of their first n - ceil(t n) + 1 (prefix filter: Bayardo, Ma, Srikant, "Scaling Up All Pairs Similarity Search", 2007),
and the first that they share must leave both enough to come (positional filter: Xiao, Wang, Lin, Yu, "Efficient Similarity Joins
for Near Duplicate Detection", 2008). What a template gives to all rows stands late in each, and is cut off by a binary search.

`Join` compares rows with those before them, as deduplication does; `HeldSets` holds one set of rows while another streams past.
Axes: T shingles of all rows in one line, U different ones, P those in prefixes, C candidates.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Jaccard bounds are worked out in floating point; what lies on one is let through, and decided by counting.
SLACK = 1e-9
FIRST_CHECKED, MOST_CHECKED = 64, 4096
RANKED_AT_ONCE = 2**20

Array = NDArray[Any]


class RankedSets:
    """Rows as sets of numbers, each number known by its rank: how few rows have it."""

    def __init__(self, sets: Sequence[Array]) -> None:
        """`sets` are the different shingles of each row."""
        self.sizes = np.array([len(each) for each in sets], dtype=np.int64)
        hashes_T = np.concatenate(sets) if len(sets) else np.empty(0, dtype=np.uint64)
        self._ends = np.cumsum(self.sizes)
        self._hashes_U, counts_U = np.unique(hashes_T, return_counts=True)
        self._rank_U = np.empty(len(counts_U), dtype=np.int32)
        self._rank_U[np.argsort(counts_U, kind="stable")] = np.arange(len(counts_U), dtype=np.int32)
        self.first_shared = int((counts_U == 1).sum())
        """The first rank that two rows have."""
        self.ranks = len(counts_U)
        self._is_asked_U = np.zeros(len(counts_U), dtype=bool)
        self._ranks_T = np.empty(len(hashes_T), dtype=np.int32)
        for start in range(0, len(hashes_T), RANKED_AT_ONCE):
            places = np.searchsorted(self._hashes_U, hashes_T[start : start + RANKED_AT_ONCE])
            self._ranks_T[start : start + RANKED_AT_ONCE] = self._rank_U[places]
        for row in range(len(sets)):
            self.ranks_of(row).sort()

    def ranks_of(self, row: int) -> Array:
        """The ranks of a row's shingles, ascending."""
        end = int(self._ends[row])
        return self._ranks_T[end - int(self.sizes[row]) : end]

    def known(self, hashes: Array) -> Array:
        """The ranks of those shingles of another row that any of these has, ascending."""
        if not len(self._hashes_U):
            return np.empty(0, dtype=np.int32)
        places = np.minimum(np.searchsorted(self._hashes_U, hashes), len(self._hashes_U) - 1)
        return np.sort(self._rank_U[places[self._hashes_U[places] == hashes]])

    def jaccards(self, ranks: Array, size: int, others_C: Array) -> Array:
        """Of a set of `size` shingles, of which those of `ranks` are known. Exact, but that shingles are known by 64 bits."""
        sizes_C = self.sizes[others_C]
        ranks_T = np.concatenate([self.ranks_of(other) for other in others_C.tolist()])
        starts_C = np.cumsum(sizes_C) - sizes_C
        self._is_asked_U[ranks] = True
        shared_C = np.add.reduceat(self._is_asked_U[ranks_T], starts_C, dtype=np.int64)
        self._is_asked_U[ranks] = False
        return np.asarray(shared_C / (sizes_C + size - shared_C))


def prefix_length(size: int, threshold: float) -> int:
    """How many of the rarest shingles a near row must share one of."""
    return size - ceil(threshold * size - SLACK) + 1


def reach_of(size: int, place: int, threshold: float) -> float:
    """The size of the largest row, times t, that this one can be near if the shingle at `place` is the first they share.

    With `place` shingles passed, at most size - place are shared; t / (1 + t) of both sizes must be.
    """
    return size - place * (1 + threshold)


class Postings:
    """The rows that have a shingle in their prefix, those with the most to come first."""

    def __init__(self) -> None:
        self._order = array("d")
        self._members = array("q")

    def add(self, member: int, reach: float) -> None:
        """`reach` as of `reach_of`."""
        place = bisect_right(self._order, -reach)
        self._order.insert(place, -reach)
        self._members.insert(place, member)

    def reaching(self, size: float) -> Array:
        """Members whose reach is at least `size`."""
        return np.array(self._members[: bisect_right(self._order, SLACK - size)], dtype=np.int64)


class Join:
    """Some rows as sets of numbers, known by their place; of those added, which are near another."""

    def __init__(self, sets: Sequence[Array], labels: Sequence[int], threshold: float) -> None:
        """`sets` are the different shingles of each row; only rows of equal labels are near."""
        self.pairs_refused = 0
        self._threshold = threshold
        self._labels = np.array(labels, dtype=np.int64)
        self._sets = RankedSets(sets)
        self._postings: dict[int, Postings] = {}

    def add(self, row: int) -> None:
        """Let later rows find this one."""
        for shingle, reach in self._prefix(row):
            self._postings.setdefault(shingle, Postings()).add(row, reach)

    def near(self, row: int) -> Iterator[int]:
        """The added rows with a Jaccard of at least the threshold, ascending, each looked for when it is asked for."""
        size, ranks = int(self._sets.sizes[row]), self._sets.ranks_of(row)
        for checked_C in in_growing_pieces(self._candidates(row)):
            is_near_C = self._sets.jaccards(ranks, size, checked_C) >= self._threshold
            self.pairs_refused += len(checked_C) - int(is_near_C.sum())
            yield from checked_C[is_near_C].tolist()

    def _prefix(self, row: int) -> Iterator[tuple[int, float]]:
        """The shingles by which a near row must be found, but for those that no other row has; and how far each reaches."""
        size = int(self._sets.sizes[row])
        prefix = self._sets.ranks_of(row)[: prefix_length(size, self._threshold)]
        for place in range(int(np.searchsorted(prefix, self._sets.first_shared)), len(prefix)):
            yield int(prefix[place]), reach_of(size, place, self._threshold)

    def _candidates(self, row: int) -> Array:
        sizes, size = self._sets.sizes, float(self._sets.sizes[row])
        found = []
        for shingle, reach in self._prefix(row):
            if (postings := self._postings.get(shingle)) is None:
                continue
            members = postings.reaching(self._threshold * size)
            found.append(members[sizes[members] * self._threshold <= reach + SLACK])
        if not found:
            return np.empty(0, dtype=np.int64)
        candidates = np.unique(np.concatenate(found))
        return np.asarray(candidates[self._labels[candidates] == self._labels[row]])


@dataclass(frozen=True)
class Asked:
    """A row that is compared with held ones: its shingles that they know, by rank, how many it has in all, who may be near."""

    ranks: Array
    size: int
    candidates: Array


class HeldSets:
    """Rows as sets of numbers, known by their place, past which others stream: which are near one of those."""

    def __init__(self, sets: Sequence[Array], threshold: float) -> None:
        """`sets` are the different shingles of each row, all of them held: some 20 bytes a shingle, 45 while they are put in order."""
        self._threshold = threshold
        self._sets = RankedSets(sets)
        ranks, members, reaches = [], [], []
        for row, size in enumerate(self._sets.sizes.tolist()):
            length = prefix_length(size, threshold)
            ranks.append(self._sets.ranks_of(row)[:length].copy())
            members.append(np.full(length, row, dtype=np.int32))
            reaches.append(reach_of(size, 0, threshold) - np.arange(length) * (1 + threshold))
        if not ranks:
            ranks, members, reaches = (
                [np.empty(0, dtype=np.int32)],
                [np.empty(0, dtype=np.int32)],
                [np.empty(0)],
            )
        ranks_P, members_P, reaches_P = (np.concatenate(each) for each in (ranks, members, reaches))
        order_P = np.lexsort((-reaches_P, ranks_P))
        self._members_P, self._lacks_P = members_P[order_P], -reaches_P[order_P]
        self._starts_U = np.concatenate([[0], np.cumsum(np.bincount(ranks_P, minlength=self._sets.ranks))])

    def ask(self, hashes: Array) -> Asked:
        """Another row by its different shingles, with all held rows that may be near it, ascending."""
        size, ranks = len(hashes), self._sets.known(hashes)
        passed = size - len(ranks)  # no held row has them: they are the rarest, and come first
        prefix = ranks[: max(0, prefix_length(size, self._threshold) - passed)]
        found = [np.empty(0, dtype=np.int64)]
        for place, rank in enumerate(prefix.tolist(), start=passed):
            start, end = int(self._starts_U[rank]), int(self._starts_U[rank + 1])
            if start == end:
                continue
            reaching = np.searchsorted(self._lacks_P[start:end], SLACK - self._threshold * size, "right")
            members = self._members_P[start : start + int(reaching)]
            reach = reach_of(size, place, self._threshold)
            found.append(members[self._sets.sizes[members] * self._threshold <= reach + SLACK])
        return Asked(ranks, size, np.unique(np.concatenate(found)))

    def is_near(self, asked: Asked, others_C: Array) -> Array:
        """Which of some held rows have a Jaccard of at least the threshold with the row that is asked about."""
        return np.asarray(self._sets.jaccards(asked.ranks, asked.size, others_C) >= self._threshold)


def in_growing_pieces(candidates: Array) -> Iterator[Array]:
    """Most often one of the first few is near, and no more are asked for."""
    start, count = 0, FIRST_CHECKED
    while start < len(candidates):
        yield candidates[start : start + count]
        start, count = start + count, min(count * 4, MOST_CHECKED)
