"""Compare rows with each other: repeats, conflicting answers, leaks between splits. Every row gets the strictest kind it is of.

The work is that of deduplication; here nothing is dropped, and all that repeats is told with the place that it repeats.
"""

from collections.abc import Iterator

import numpy as np

from luthier.data.check.index import SPLITS, Index, ViewReader
from luthier.data.check.kinds import Fault
from luthier.data.dedup.columns import Array, equal_groups
from luthier.data.dedup.exact import drop_exact
from luthier.data.dedup.judge import Judge
from luthier.data.dedup.sketch import Bands
from luthier.data.dedup.sweep import Search, drop_near
from luthier.data.dedup.verdict import EXACT, NEAR, Verdict
from luthier.floor.log import Listener
from luthier.floor.stop import StopFlag

BUDGET_BYTES = 2**29  # for sorting; the columns have their own

Placed = tuple[int, Fault]
"""The number of a row and what is said of it."""


def compare_rows(
    index: Index, reader: ViewReader, bands: Bands | None, *, listener: Listener, stop: StopFlag
) -> Iterator[Placed]:
    """Every finding across rows. Without `bands` nothing near is looked for."""
    table = index.table
    verdict = Verdict.all_kept(len(table))
    drop_exact(table, verdict, budget_bytes=BUDGET_BYTES)
    is_told_N = index.is_empty_N.copy()
    for row in np.flatnonzero((verdict.kind_S == EXACT) & ~is_told_N).tolist():
        is_told_N[row] = True
        yield row, Fault("duplicate", f"the same as {table.origin(int(verdict.repeats_S[row]))}")
    yield from _conflicts(index, is_told_N)
    yield from _repeated_prompts(index, is_told_N)
    if bands and table.signatures_NK is not None:
        judge = Judge(table, reader, bands.threshold)
        drop_near(Search(table, bands, judge, BUDGET_BYTES, listener, stop), verdict)
        for row in np.flatnonzero((verdict.kind_S == NEAR) & ~is_told_N).tolist():
            first, share = int(verdict.repeats_S[row]), float(verdict.jaccard_S[row])
            yield (
                row,
                Fault("near-duplicate", f"nearly the same as {table.origin(first)}, Jaccard {share:.2f}"),
            )
    yield from _leaks(index)
    yield from _guide_duplicates(index)


def _conflicts(index: Index, is_told_N: Array) -> Iterator[Placed]:
    """One finding a prompt, as written, that has more than one answer: at the first row that answers otherwise."""
    table = index.table
    for rows in equal_groups(table.written_N, budget_bytes=BUDGET_BYTES, among_N=_asks(index)):
        answers = table.answer_N[rows]
        others = rows[answers != answers[0]]
        if not len(others):
            continue
        count = len(np.unique(answers))
        is_told_N[others[0]] = True
        what = f"asks what {table.origin(int(rows[0]))} asks, and answers otherwise"
        more = f" ({count} answers in {len(rows)} rows)" if len(rows) > 2 else ""
        yield int(others[0]), Fault("conflict", what + more)


def _repeated_prompts(index: Index, is_told_N: Array) -> Iterator[Placed]:
    """Rows whose prompt stood in an earlier row, as written or once it is folded, and that no stricter finding names."""
    table = index.table
    for kind, keys_N, how in (
        ("duplicate-prompt", table.written_N, "has the prompt of"),
        ("duplicate-folded", table.folded_N, "has, but for case and signs, the prompt of"),
    ):
        for rows in equal_groups(keys_N, budget_bytes=BUDGET_BYTES, among_N=_asks(index)):
            for row in rows[1:].tolist():
                if not is_told_N[row]:
                    is_told_N[row] = True
                    yield row, Fault(kind, f"{how} {table.origin(int(rows[0]))}")


def _asks(index: Index) -> Array:
    """Rows that ask something: an empty prompt is a fault of its own."""
    return np.asarray((index.table.written_N != 0) & ~index.is_empty_N)


def _leaks(index: Index) -> Iterator[Placed]:
    """Rows whose question a row of a split further on has: training rows that are tested, or validated, on."""
    if not index.split_N.any():
        return
    for rows in equal_groups(index.question_N, budget_bytes=BUDGET_BYTES, among_N=~index.is_empty_N):
        splits = index.split_N[rows]
        last = int(splits.max())
        held_out = rows[splits == last]
        for row in rows[splits < last].tolist():
            more = f" and {len(held_out) - 1} more" if len(held_out) > 1 else ""
            where = f"{index.table.origin(int(held_out[0]))}{more}"
            yield (
                row,
                Fault(
                    "leak", f"this {SPLITS[index.split_N[row]]} row asks what {where} ({SPLITS[last]}) asks"
                ),
            )


def _guide_duplicates(index: Index) -> Iterator[Placed]:
    """The guide's third finding, at the first row whose text stood before, but over all rows."""
    first = min(
        (int(rows[1]) for rows in equal_groups(index.body_N, budget_bytes=BUDGET_BYTES)), default=None
    )
    if first is not None:
        yield first, Fault("guide-duplicates", "Duplicate samples detected")
