"""Decide pairs by reading both rows again, and drop the rows that repeat others nearly."""

from collections import OrderedDict
from typing import Protocol

import numpy as np

from luthier.data.dedup.columns import Array
from luthier.data.dedup.exact import conflicts
from luthier.data.dedup.near import Candidates, Clusters
from luthier.data.dedup.table import Table
from luthier.data.dedup.verdict import AGAINST_NEAR, EXACT, KEPT, NEAR, Verdict
from luthier.data.dedup.wording import Shingle, Wording, jaccard, label_of, shingles_of, tokens_of

# About 150 bytes a shingle: 150 MB at most, or one row where that is larger.
MOST_SHINGLES_HELD = 1_000_000

Looked = tuple[frozenset[Shingle], tuple[str, ...] | None]


class WordingReader(Protocol):
    """Reads the texts of a row again."""

    def wording(self, file: int, offset: int) -> Wording:
        """Those of the row that starts there."""
        ...


class Judge:
    """The exact Jaccard of two rows, read again; keeps the rows seen last."""

    def __init__(self, table: Table, reader: WordingReader, threshold: float) -> None:
        self.threshold = threshold
        self.pairs_confirmed = 0
        self._table = table
        self._reader = reader
        self._held: OrderedDict[int, Looked] = OrderedDict()
        self._shingles_held = 0

    def near(self, i: int, j: int, *, labels_count: bool) -> float | None:
        """The Jaccard if it reaches the threshold; with `labels_count`, rows with different labels are never near."""
        (left, left_label), (right, right_label) = self._look(i), self._look(j)
        found = jaccard(left, right)
        if found < self.threshold or (labels_count and left_label != right_label):
            return None
        return found

    def _look(self, row: int) -> Looked:
        if row in self._held:
            self._held.move_to_end(row)
            return self._held[row]
        wording = self._reader.wording(int(self._table.file_N[row]), int(self._table.offset_N[row]))
        looked = shingles_of(tokens_of(wording.body)), label_of(wording)
        self._held[row] = looked
        self._shingles_held += len(looked[0])
        while self._shingles_held > MOST_SHINGLES_HELD and len(self._held) > 2:
            self._shingles_held -= len(self._held.popitem(last=False)[1][0])
        return looked


def drop_against(
    table: Table, verdict: Verdict, is_first_N: Array, candidates: Candidates, judge: Judge
) -> None:
    """Drop source rows near a row of the other set, whatever their answers: a leak of the question is a leak."""
    first_against = table.first_against

    def crosses(i_P: Array, j_P: Array) -> Array:
        is_cross_P = (i_P < first_against) & (j_P >= first_against)
        is_cross_P[is_cross_P] = verdict.kind_S[i_P[is_cross_P]] == KEPT
        return np.asarray(is_cross_P)

    def judge_pair(i: int, j: int) -> None:
        if verdict.kind_S[i] != KEPT:
            return
        found = judge.near(i, j, labels_count=False)
        if found is not None:
            judge.pairs_confirmed += 1
            verdict.drop(i, AGAINST_NEAR, j, found)

    candidates.walk(is_first_N, "compare with the other set", crosses, judge_pair)
    follow_twins(table, verdict, AGAINST_NEAR)


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


def drop_near(
    table: Table, verdict: Verdict, candidates: Candidates, judge: Judge, *, budget_bytes: int
) -> None:
    """Drop each row that is near an earlier row that stays. Rows of conflicting prompts take no part: they are all kept.

    Rows that hang together through others make a cluster, and only inside of one can two rows be near; there the rows are gone
    through in order. A row that is near dropped rows only stays, since nothing that stays says what it says.
    """
    among_N = np.zeros(len(table), dtype=bool)
    among_N[: table.first_against] = verdict.is_kept_S
    for rows in conflicts(table, verdict.is_kept_S, budget_bytes=budget_bytes):
        among_N[rows] = False
    clusters = Clusters(len(table))

    def judge_pair(i: int, j: int) -> None:
        if clusters.first_of(i) != clusters.first_of(j) and judge.near(i, j, labels_count=True) is not None:
            judge.pairs_confirmed += 1
            clusters.link(i, j)

    candidates.walk(among_N, "compare", clusters.may_be_apart, judge_pair)
    for cluster in clusters.of_several():
        _drop_within(cluster, verdict, candidates, judge)
    follow_twins(table, verdict, NEAR)


def _drop_within(cluster: Array, verdict: Verdict, candidates: Candidates, judge: Judge) -> None:
    """Of rows in order, drop each that is near one that is kept, and say which and how near."""
    kept = np.empty(len(cluster), dtype=np.int64)
    kept[0], kept_rows = cluster[0], 1
    for row in cluster[1:].tolist():
        for other in candidates.promising_for(row, kept[:kept_rows]).tolist():
            found = judge.near(other, row, labels_count=True)
            if found is not None:
                verdict.drop(row, NEAR, other, found)
                break
        else:
            kept[kept_rows] = row
            kept_rows += 1
