"""Find rows that are near each other among many that look alike, without comparing each with each.

An exact set-similarity join: the shingles of a row are put in order, rare ones first. Two rows that reach the threshold t must
share one of their first n - ceil(t n) + 1 (prefix filter: Bayardo, Ma, Srikant, "Scaling Up All Pairs Similarity Search", 2007),
and the first that they share must leave both enough to come (positional filter: Xiao, Wang, Lin, Yu, "Efficient Similarity Joins
for Near Duplicate Detection", 2008). What a template gives to all rows stands late in each, and is cut off by a binary search.

Axes: T shingles of all rows in one line, C candidates.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from math import ceil

import numpy as np

from luthier.data.dedup.columns import Array

# Jaccard bounds are worked out in floating point; what lies on one is let through, and decided by counting.
SLACK = 1e-9
FIRST_CHECKED, MOST_CHECKED = 64, 4096


class Postings:
    """The rows that have a shingle in their prefix, those with the most to come first."""

    def __init__(self) -> None:
        self._order = array("d")
        self._members = array("q")

    def add(self, member: int, reach: float) -> None:
        """`reach` is the size of the largest row that this one can be near, if the shingle is the first they share, times t."""
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
        self._sizes = np.array([len(each) for each in sets], dtype=np.int64)
        self._ends = np.cumsum(self._sizes)
        self._ranks_T, self._first_shared, ranks = _rank(np.concatenate(sets), self._sizes, self._ends)
        self._is_of_row = np.zeros(ranks, dtype=bool)
        self._postings: dict[int, Postings] = {}

    def add(self, row: int) -> None:
        """Let later rows find this one."""
        for shingle, reach in self._prefix(row):
            self._postings.setdefault(shingle, Postings()).add(row, reach)

    def near(self, row: int) -> Iterator[int]:
        """The added rows with a Jaccard of at least the threshold, ascending, each looked for when it is asked for."""
        candidates = self._candidates(row)
        # Most often one of the first few is near, and no more are asked for.
        start, count = 0, FIRST_CHECKED
        while start < len(candidates):
            checked_C = candidates[start : start + count]
            is_near_C = self._jaccards(row, checked_C) >= self._threshold
            self.pairs_refused += len(checked_C) - int(is_near_C.sum())
            yield from checked_C[is_near_C].tolist()
            start, count = start + count, min(count * 4, MOST_CHECKED)

    def _ranks_of(self, row: int) -> Array:
        end = int(self._ends[row])
        return np.asarray(self._ranks_T[end - int(self._sizes[row]) : end])

    def _prefix(self, row: int) -> Iterator[tuple[int, float]]:
        """The shingles by which a near row must be found, but for those that no other row has; and how far each reaches."""
        size = int(self._sizes[row])
        length = size - ceil(self._threshold * size - SLACK) + 1
        prefix = self._ranks_of(row)[:length]
        for place in range(int(np.searchsorted(prefix, self._first_shared)), len(prefix)):
            # With place shingles passed, at most size - place are shared; t / (1 + t) of both sizes must be.
            yield int(prefix[place]), size - place * (1 + self._threshold)

    def _candidates(self, row: int) -> Array:
        size = float(self._sizes[row])
        found = []
        for shingle, reach in self._prefix(row):
            if (postings := self._postings.get(shingle)) is None:
                continue
            members = postings.reaching(self._threshold * size)
            found.append(members[self._sizes[members] * self._threshold <= reach + SLACK])
        if not found:
            return np.empty(0, dtype=np.int64)
        candidates = np.unique(np.concatenate(found))
        return np.asarray(candidates[self._labels[candidates] == self._labels[row]])

    def _jaccards(self, row: int, others_C: Array) -> Array:
        """Exact, but that shingles are known by 64 bits."""
        sizes_C = self._sizes[others_C]
        ranks_T = np.concatenate([self._ranks_of(other) for other in others_C.tolist()])
        starts_C = np.cumsum(sizes_C) - sizes_C
        self._is_of_row[self._ranks_of(row)] = True
        shared_C = np.add.reduceat(self._is_of_row[ranks_T], starts_C, dtype=np.int64)
        self._is_of_row[self._ranks_of(row)] = False
        return np.asarray(shared_C / (sizes_C + self._sizes[row] - shared_C))


def _rank(hashes_T: Array, sizes: Array, ends: Array) -> tuple[Array, int, int]:
    """Ranks by how many rows have a shingle, rare ones first, ascending in each row; the first rank that two have; how many."""
    _, ids_T, counts = np.unique(hashes_T, return_inverse=True, return_counts=True)
    ranks = np.empty(len(counts), dtype=np.int32)
    ranks[np.argsort(counts, kind="stable")] = np.arange(len(counts), dtype=np.int32)
    ranks_T = ranks[ids_T]
    for size, end in zip(sizes.tolist(), ends.tolist(), strict=True):
        ranks_T[end - size : end].sort()
    return ranks_T, int((counts == 1).sum()), len(counts)
