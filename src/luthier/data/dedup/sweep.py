"""Go through the rows of a cluster in order, and drop each that is near one that stays.

A few rows are compared by their signatures, many by a join; either way a row goes only once both texts were read again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from luthier.data.alike.join import Join
from luthier.data.alike.shingles import ShingleHashes
from luthier.data.alike.wording import label_key, tokens_of
from luthier.data.dedup.columns import Array
from luthier.data.dedup.exact import conflicts
from luthier.data.dedup.judge import Judge
from luthier.data.dedup.near import SMALL_GROUP, ClusterFinder, Clusters
from luthier.data.dedup.sketch import Bands
from luthier.data.dedup.table import INTERRUPTED, Table
from luthier.data.dedup.verdict import AGAINST_NEAR, EXACT, KEPT, NEAR, Verdict
from luthier.floor.log import Listener
from luthier.floor.stop import StopFlag

# Hash, rank and place of a shingle, what sorting them takes, and its entry where rows are found by it.
BYTES_A_SHINGLE = 64
READ_AT_ONCE = 256


@dataclass(frozen=True)
class Block:
    """Rows of a cluster that are in memory together, each as the different hashes of its shingles."""

    rows: Array
    sets: list[Array]
    labels: list[int]


@dataclass(frozen=True)
class Search:
    """What is searched, and how."""

    table: Table
    bands: Bands
    judge: Judge
    budget_bytes: int
    listener: Listener
    stop: StopFlag

    def clusters(self, among_N: Array, *, across: bool = False) -> Clusters:
        """Rows that may be near each other; with `across` for the sake of pairs of a source row and one compared against."""
        finder = ClusterFinder(
            self.table, self.bands, budget_bytes=self.budget_bytes, listener=self.listener, stop=self.stop
        )
        return finder.find(among_N, "look" if not across else "look in the other set", across=across)


def drop_against(search: Search, verdict: Verdict, is_first_N: Array) -> None:
    """Drop source rows near a row of the other set, whatever their answers: a leak of the question is a leak."""
    among_N = is_first_N.copy()
    among_N[: search.table.first_against] &= verdict.is_kept_S
    sweep = Sweep(search, verdict, kind=AGAINST_NEAR, labels_count=False)
    sweep.across(search.clusters(among_N, across=True))
    follow_twins(search.table, verdict, AGAINST_NEAR)


def drop_near(search: Search, verdict: Verdict) -> None:
    """Drop each row that is near an earlier row that stays. Rows of conflicting prompts take no part: they are all kept."""
    among_N = np.zeros(len(search.table), dtype=bool)
    among_N[: search.table.first_against] = verdict.is_kept_S
    for rows in conflicts(search.table, verdict.is_kept_S, budget_bytes=search.budget_bytes):
        among_N[rows] = False
    Sweep(search, verdict, kind=NEAR, labels_count=True).within(search.clusters(among_N))
    follow_twins(search.table, verdict, NEAR)


def follow_twins(table: Table, verdict: Verdict, kind: int) -> None:
    """Let exact repeats of a row that was dropped as `kind` repeat the row that stays, through their twin.

    What leaks goes as a leak; what is an exact repeat within the set is counted as one, though its twin went too.
    """
    for row in np.flatnonzero(verdict.kind_S == EXACT).tolist():
        twin = int(verdict.repeats_S[row])
        if verdict.kind_S[twin] != kind:
            continue
        if kind == AGAINST_NEAR:
            verdict.kind_S[row] = kind
        verdict.repeats_S[row], verdict.jaccard_S[row] = verdict.repeats_S[twin], verdict.jaccard_S[twin]
        verdict.via_S[row], verdict.via_jaccard_S[row] = twin, 1.0


class Sweep:
    """Drops rows, by one rule, from cluster after cluster."""

    def __init__(self, search: Search, verdict: Verdict, *, kind: int, labels_count: bool) -> None:
        """Rows are dropped as `kind`; with `labels_count`, rows with different labels are never near."""
        assert search.table.signatures_NK is not None
        self._signatures_NK = search.table.signatures_NK
        self._first_against = search.table.first_against
        self._search = search
        self._judge = search.judge
        self._verdict = verdict
        self._kind = kind
        self._labels_count = labels_count
        self._most_shingles = max(1, search.budget_bytes // (2 * BYTES_A_SHINGLE))  # two blocks are held
        self._hashes = ShingleHashes()
        self._rows_done = 0

    def within(self, clusters: Clusters) -> None:
        """A row that is near dropped rows only stays, since nothing that stays says what it says."""
        for rows in clusters.of_several():
            self._sweep(rows[:0], rows, grows=True)
            self._done(len(rows))

    def across(self, clusters: Clusters) -> None:
        """Drop source rows near one of the other set; source rows are not compared among themselves."""
        for rows in clusters.of_several():
            first = int(np.searchsorted(rows, self._first_against))
            sources = rows[:first]
            self._sweep(rows[first:], sources[self._verdict.kind_S[sources] == KEPT], grows=False)
            self._done(len(rows))

    def _done(self, rows: int) -> None:
        self._rows_done += rows
        self._tell(0)

    def _tell(self, more: int) -> None:
        done = min(self._rows_done + more, len(self._search.table) - 1)
        pairs = f"{self._judge.pairs_compared:,} pairs"
        self._search.listener.progress("judge", done, len(self._search.table), pairs)

    def _sweep(self, stay: Array, rows: Array, *, grows: bool) -> None:
        """Drop those of `rows` that are near one that stays; with `grows`, each that is not stays for those after it."""
        if len(stay) + len(rows) <= SMALL_GROUP:
            return self._sweep_few(stay, rows, grows=grows)
        for block in self._blocks(rows):
            for earlier in self._blocks(stay):
                self._join(earlier, block, grows=False)
            if grows:
                self._join(Block(stay[:0], [], []), block, grows=True)
                stay = np.concatenate([stay, block.rows[self._verdict.kind_S[block.rows] == KEPT]])
        return None

    def _sweep_few(self, stay: Array, rows: Array, *, grows: bool) -> None:
        self._search.stop.check(INTERRUPTED, fix="Repeat the command.")
        for row in rows.tolist():
            agree_P = (self._signatures_NK[stay] == self._signatures_NK[row]).sum(axis=1)
            if not self._drop(row, stay[agree_P >= self._search.bands.fewest_matches].tolist()) and grows:
                stay = np.append(stay, row)

    def _join(self, earlier: Block, block: Block, *, grows: bool) -> None:
        """Rows of `block` near one of `earlier`, which all stay, or with `grows` near one of the block that stays."""
        join = Join(earlier.sets + block.sets, earlier.labels + block.labels, self._search.bands.threshold)
        rows = np.concatenate([earlier.rows, block.rows])
        for place in range(len(earlier.rows)):
            join.add(place)
        for place in range(len(earlier.rows), len(rows)):
            self._search.stop.check(INTERRUPTED, fix="Repeat the command.")
            row = int(rows[place])
            if self._verdict.kind_S[row] != KEPT:
                continue
            if not self._drop(row, (int(rows[other]) for other in join.near(place))) and grows:
                join.add(place)
            if not place % READ_AT_ONCE:
                self._tell(place)
        self._judge.pairs_compared += join.pairs_refused

    def _drop(self, row: int, others: Sequence[int] | Iterator[int]) -> bool:
        """Drop a row for the first of the others that it is near by its words, and say how near."""
        for other in others:
            found = self._judge.near(other, row, labels_count=self._labels_count)
            if found is not None:
                self._verdict.drop(row, self._kind, other, found)
                return True
        return False

    def _blocks(self, rows: Array) -> Iterator[Block]:
        """The rows as sets, as many at once as memory has room for."""
        start, sets, labels = 0, list[Array](), list[int]()
        shingles = 0
        for first in range(0, len(rows), READ_AT_ONCE):
            self._search.stop.check(INTERRUPTED, fix="Repeat the command.")
            wordings = [self._judge.read(row) for row in rows[first : first + READ_AT_ONCE].tolist()]
            found = self._hashes.sets([tokens_of(each.body) for each in wordings])
            shingles += sum(map(len, found))
            sets += found
            labels += [label_key(each) if self._labels_count else 0 for each in wordings]
            if shingles >= self._most_shingles:
                yield Block(rows[start : start + len(sets)], sets, labels)
                start, sets, labels, shingles = start + len(sets), [], [], 0
        if sets:
            yield Block(rows[start:], sets, labels)
