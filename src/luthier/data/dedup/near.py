"""Find near-duplicates: rows that meet in a band are candidates, and the Jaccard of their own shingles decides.

Whether two rows are linked depends on the two alone, so clusters depend neither on order nor on memory. A pair is looked at
once, in the first band where it meets, and not at all if its rows are connected already. Inside of a cluster judge.py decides.
"""

from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np

from luthier.data.dedup.columns import Array, equal_groups
from luthier.data.dedup.sketch import Bands
from luthier.data.dedup.table import INTERRUPTED, Table
from luthier.floor.log import Listener
from luthier.floor.stop import StopFlag

PAIRS_AT_ONCE = 2**16
SMALL_GROUP = 64
# 16 Mi pairs of a band's group of equal keys: up to 5,793 rows are compared each with each, more with the first ones only.
MOST_PAIRS_A_GROUP = 2**24

Wanted = Callable[[Array, Array], Array]
Act = Callable[[int, int], None]


class Candidates:
    """Walks the candidate pairs (i < j) band by band, in an order that no budget changes. P: pairs in hand."""

    def __init__(
        self, table: Table, bands: Bands, *, budget_bytes: int, listener: Listener, stop: StopFlag
    ) -> None:
        assert table.signatures_NK is not None
        self.pairs_looked_at = 0
        self.pairs_passed_over = 0
        self._table = table
        self._signatures_NK = table.signatures_NK
        self._bands = bands
        self._budget_bytes = budget_bytes
        self._listener = listener
        self._stop = stop

    def walk(self, among_N: Array, label: str, wanted: Wanted, act: Act) -> None:
        """Call `act` on every promising pair of rows `among_N` that is still `wanted`."""
        bands = len(self._table.bands)
        for band, keys_N in enumerate(self._table.bands):
            for i_P, j_P in self._blocks(keys_N, among_N):
                self._stop.check(INTERRUPTED, fix="Repeat the command.")
                is_wanted_P = wanted(i_P, j_P)
                i_P, j_P = self._promising(i_P[is_wanted_P], j_P[is_wanted_P], band)
                self.pairs_looked_at += len(i_P)
                for i, j in zip(i_P.tolist(), j_P.tolist(), strict=True):
                    act(i, j)
                self._listener.progress(label, band, bands, f"{self.pairs_looked_at:,} pairs")
        self._listener.progress(label, bands, bands, f"{self.pairs_looked_at:,} pairs")

    def _blocks(self, keys_N: Array, among_N: Array) -> Iterator[tuple[Array, Array]]:
        """All pairs that share a key: those of small groups gathered, those of a large group row by row."""
        waiting: list[tuple[int, int]] = []
        for rows in equal_groups(keys_N, budget_bytes=self._budget_bytes, among_N=among_N):
            if len(rows) <= SMALL_GROUP:
                waiting.extend(combinations(rows.tolist(), 2))
                if len(waiting) < PAIRS_AT_ONCE:
                    continue
            if waiting:
                yield _as_arrays(waiting)
                waiting = []
            if len(rows) > SMALL_GROUP:
                yield from self._blocks_of_large(rows)
        if waiting:
            yield _as_arrays(waiting)

    def _blocks_of_large(self, rows: Array) -> Iterator[tuple[Array, Array]]:
        most = MOST_PAIRS_A_GROUP
        for place in range(len(rows) - 1):
            others = rows[place + 1 :]
            if most <= 0:
                self.pairs_passed_over += len(others) * (len(others) + 1) // 2
                return
            most -= len(others)
            for start in range(0, len(others), PAIRS_AT_ONCE):
                j_P = others[start : start + PAIRS_AT_ONCE]
                yield np.full(len(j_P), rows[place]), j_P

    def _promising(self, i_P: Array, j_P: Array, band: int) -> tuple[Array, Array]:
        """Pairs that no earlier band has shown, and whose signatures agree often enough."""
        agree_PK = self._signatures_NK[i_P] == self._signatures_NK[j_P]
        is_promising_P = agree_PK.sum(axis=1) >= self._bands.fewest_matches
        if band:
            earlier_PBR = agree_PK[:, : band * self._bands.rows].reshape(-1, band, self._bands.rows)
            is_promising_P &= ~earlier_PBR.all(axis=2).any(axis=1)
        return i_P[is_promising_P], j_P[is_promising_P]

    def promising_for(self, row: int, others: Array) -> Array:
        """Those of `others` whose signatures agree with the row's often enough to be near it."""
        agree_P = (self._signatures_NK[others] == self._signatures_NK[row]).sum(axis=1)
        return np.asarray(others[agree_P >= self._bands.fewest_matches])


def _as_arrays(pairs: list[tuple[int, int]]) -> tuple[Array, Array]:
    both = np.array(pairs, dtype=np.int64)
    return both[:, 0], both[:, 1]


class Clusters:
    """Sets of rows that are linked, directly or through others; a set is known by its first row (union-find)."""

    def __init__(self, rows: int) -> None:
        self.parent_N = np.arange(rows, dtype=np.int64)

    def first_of(self, row: int) -> int:
        """The first row of a row's set."""
        parent_N = self.parent_N
        while (parent := int(parent_N[row])) != row:
            parent_N[row] = parent_N[parent]
            row = parent
        return row

    def link(self, i: int, j: int) -> None:
        """Join the sets of two rows that are near each other."""
        low, high = sorted((self.first_of(i), self.first_of(j)))
        self.parent_N[high] = low

    def may_be_apart(self, i_P: Array, j_P: Array) -> Array:
        """False only for pairs that are surely in one set: a cheap look for many pairs at once."""
        return np.asarray(self.parent_N[i_P] != self.parent_N[j_P])

    def of_several(self) -> Iterator[Array]:
        """The rows of each set of two or more, ascending; sets come in the order of their first rows."""
        later = np.flatnonzero(self.parent_N != np.arange(len(self.parent_N)))
        firsts = np.array([self.first_of(row) for row in later.tolist()], dtype=np.int64)
        order = np.argsort(firsts, kind="stable")
        later, firsts = later[order], firsts[order]
        starts = np.flatnonzero(np.diff(firsts, prepend=-1))
        for members in np.split(later, starts)[1:]:
            yield np.concatenate([[self.first_of(int(members[0]))], members])
