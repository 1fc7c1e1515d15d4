"""Gather rows that may be near each other: rows that meet in a band, and whose signatures do not speak against it.

A cluster says where to look and decides nothing: two rows that are near are in one, but for the share that the bands miss, and
two rows of one need not be near. What is near is decided in sweep.py, of a row and another alone, so that what stays depends on
neither memory nor batches.
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from luthier.data.dedup.columns import Array, equal_groups
from luthier.data.dedup.sketch import Bands
from luthier.data.dedup.table import INTERRUPTED, Table
from luthier.floor.log import Listener
from luthier.floor.stop import StopFlag

PAIRS_AT_ONCE = 2**16
# In a larger group pairs are not looked at one by one: its rows are all of one cluster, and join.py finds what is near.
SMALL_GROUP = 64


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
        """Join the sets of two rows."""
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


class ClusterFinder:
    """Walks the groups of rows that share a band. N: rows, P: pairs in hand."""

    def __init__(
        self, table: Table, bands: Bands, *, budget_bytes: int, listener: Listener, stop: StopFlag
    ) -> None:
        assert table.signatures_NK is not None
        self._table = table
        self._signatures_NK = table.signatures_NK
        self._fewest_matches = bands.fewest_matches
        self._budget_bytes = budget_bytes
        self._listener = listener
        self._stop = stop

    def find(self, among_N: Array, label: str, *, across: bool) -> Clusters:
        """Clusters of the rows `among_N`; with `across` only pairs of a source row and one to compare against count."""
        clusters = Clusters(len(self._table))
        bands = len(self._table.bands)
        for band, keys_N in enumerate(self._table.bands):
            self._listener.progress(label, band, bands)
            for i_P, j_P in self._pairs(keys_N, among_N, clusters, across=across):
                self._stop.check(INTERRUPTED, fix="Repeat the command.")
                for i, j in self._promising(i_P, j_P, clusters):
                    clusters.link(i, j)
        self._listener.progress(label, bands, bands)
        return clusters

    def _pairs(
        self, keys_N: Array, among_N: Array, clusters: Clusters, *, across: bool
    ) -> Iterator[tuple[Array, Array]]:
        """The pairs of small groups, many at once; the rows of large groups are linked as they are."""
        first_against = self._table.first_against
        waiting: list[tuple[int, int]] = []
        for rows in equal_groups(keys_N, budget_bytes=self._budget_bytes, among_N=among_N):
            if across and (rows[0] >= first_against or rows[-1] < first_against):
                continue
            if len(rows) > SMALL_GROUP:
                for row in rows[1:].tolist():
                    clusters.link(int(rows[0]), row)
                continue
            pairs = combinations(rows.tolist(), 2)
            waiting.extend((i, j) for i, j in pairs if not across or i < first_against <= j)
            if len(waiting) >= PAIRS_AT_ONCE:
                yield _as_arrays(waiting)
                waiting = []
        if waiting:
            yield _as_arrays(waiting)

    def _promising(self, i_P: Array, j_P: Array, clusters: Clusters) -> Iterator[tuple[int, int]]:
        """Pairs that are not of one cluster yet, and whose signatures agree often enough."""
        may_be_apart_P = clusters.may_be_apart(i_P, j_P)
        i_P, j_P = i_P[may_be_apart_P], j_P[may_be_apart_P]
        agree_P = (self._signatures_NK[i_P] == self._signatures_NK[j_P]).sum(axis=1)
        is_promising_P = agree_P >= self._fewest_matches
        return zip(i_P[is_promising_P].tolist(), j_P[is_promising_P].tolist(), strict=True)


def _as_arrays(pairs: list[tuple[int, int]]) -> tuple[Array, Array]:
    both = np.array(pairs, dtype=np.int64)
    return both[:, 0], both[:, 1]
