"""Pick what a person should see of a deduplication: the largest clusters, and dropped rows beside what they repeat."""

import numpy as np

from luthier.data.dedup.columns import Array
from luthier.data.dedup.scan import Rereader
from luthier.data.dedup.table import Table
from luthier.data.dedup.verdict import (
    AGAINST_EXACT,
    AGAINST_NEAR,
    KEPT,
    KINDS,
    NONE,
    SEMANTIC,
    Verdict,
    measure_of,
)
from luthier.reports.dedup import Cluster, RepeatedPair

CLUSTERS_SHOWN = 10
TEXT_SHOWN = 600


def largest_clusters(table: Table, verdict: Verdict, reader: Rereader) -> list[Cluster]:
    """The rows that most others repeat."""
    dropped = np.flatnonzero(verdict.kind_S != KEPT)
    kept, counts = np.unique(verdict.repeats_S[dropped], return_counts=True)
    order = np.lexsort((kept, -counts))[:CLUSTERS_SHOWN]
    found = []
    for row, count in zip(kept[order].tolist(), counts[order].tolist(), strict=True):
        lowest = float(verdict.jaccard_S[verdict.repeats_S == row].min())
        text = text_of(table, reader, row)
        found.append(
            Cluster(row=table.origin(row), rows_dropped=count, lowest_jaccard=round(lowest, 4), text=text)
        )
    return found


def repeated_pairs(
    table: Table, verdict: Verdict, reader: Rereader, *, count: int, leaks_only: bool
) -> list[RepeatedPair]:
    """Dropped rows, those least like what they repeat first: they are the ones to judge a threshold by.

    Rows that went by their meaning come before all others: nothing but a look tells whether they should.
    """
    leaks = np.isin(verdict.kind_S, (AGAINST_EXACT, AGAINST_NEAR))
    wanted = leaks if leaks_only else verdict.kind_S != KEPT
    rows: Array = np.flatnonzero(wanted)
    rows = rows[np.lexsort((verdict.jaccard_S[rows], verdict.kind_S[rows] != SEMANTIC))][:count]
    return [
        RepeatedPair(
            kind=KINDS[verdict.kind_S[row]],
            measure=measure_of(verdict, row),
            jaccard=round(float(verdict.jaccard_S[row]), 4),
            row=table.origin(row),
            text=text_of(table, reader, row),
            repeats=table.origin(int(verdict.repeats_S[row])),
            repeated_text=text_of(table, reader, int(verdict.repeats_S[row])),
            via=None if verdict.via_S[row] == NONE else table.origin(int(verdict.via_S[row])),
        )
        for row in rows.tolist()
    ]


def text_of(table: Table, reader: Rereader, row: int) -> str:
    """A row's text, cut."""
    body = reader.wording(int(table.file_N[row]), int(table.offset_N[row])).body
    return body if len(body) <= TEXT_SHOWN else body[:TEXT_SHOWN] + " ..."
