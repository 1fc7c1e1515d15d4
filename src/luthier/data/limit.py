"""Fit rendered rows into max_length by the recipe's policy, and leave out rows that nothing is left to learn from.

Works on whole blocks with numpy. Axes: N rows in, M rows out, T tokens end to end.
"""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from luthier.data.books import NO_TRAINED_TOKEN, TOO_LONG

if TYPE_CHECKING:
    from luthier.text.render import RenderedBlock

Policy = Literal["truncate", "drop", "split"]


@dataclass(frozen=True)
class FittedBlock:
    """Rows that fit, and what became of the others."""

    ids_T: npt.NDArray[np.uint32]
    trained_T: npt.NDArray[np.bool_]
    lengths_M: npt.NDArray[np.int64]
    rows_M: npt.NDArray[np.int64]
    """Which of the N rows each one comes from."""
    lost_M2: npt.NDArray[np.int64]
    """Of each row: tokens cut off, and trained tokens lost."""
    rows_added: int
    rows_truncated: int
    dropped: Counter[str]


def fit_block(block: "RenderedBlock", *, max_length: int, policy: Policy) -> FittedBlock:
    """Cut, leave out or split the rows beyond `max_length` tokens.

    `truncate` keeps a row's first tokens. `split` cuts it into pieces of `max_length` that, end to end, are the row; the first
    token of a piece carries no loss, since nothing precedes it there.
    """
    lengths_N = block.lengths_N
    assert lengths_N.min(initial=1) > 0, "a row of no tokens"
    rows_T = np.repeat(np.arange(len(lengths_N)), lengths_N)
    places_T = np.arange(len(block.ids_T)) - np.repeat(np.cumsum(lengths_N) - lengths_N, lengths_N)
    is_long_N = lengths_N > max_length
    dropped: Counter[str] = Counter()
    trained_T = block.trained_T
    if policy == "split":
        keep_T = np.ones(len(rows_T), dtype=bool)
        trained_T = trained_T & (places_T % max_length != 0)
        starts_T = places_T % max_length == 0
    else:
        keep_T = places_T < max_length if policy == "truncate" else ~is_long_N[rows_T]
        starts_T = places_T == 0
        dropped[TOO_LONG] += int(is_long_N.sum()) if policy == "drop" else 0
    starts = np.flatnonzero(starts_T[keep_T])
    ids_T, trained_T, rows_T = block.ids_T[keep_T], trained_T[keep_T], rows_T[keep_T]
    lengths_M = np.diff(np.append(starts, len(ids_T)))
    rows_M = rows_T[starts]
    trained_M = _sums(trained_T, starts)
    is_learnt_M = trained_M > 0
    dropped[NO_TRAINED_TOKEN] += int((~is_learnt_M).sum())
    learnt_T = np.repeat(is_learnt_M, lengths_M)
    whole_trained_T = block.trained_T[keep_T] if policy == "split" else block.trained_T
    whole_starts = starts if policy == "split" else np.cumsum(lengths_N) - lengths_N
    wholes_M = np.arange(len(starts)) if policy == "split" else rows_M
    lost_M2 = np.stack(
        [
            np.zeros(len(starts), dtype=np.int64) if policy == "split" else lengths_N[rows_M] - lengths_M,
            _sums(whole_trained_T, whole_starts)[wholes_M] - trained_M,
        ],
        axis=1,
    )
    return FittedBlock(
        ids_T=ids_T[learnt_T],
        trained_T=trained_T[learnt_T],
        lengths_M=lengths_M[is_learnt_M],
        rows_M=rows_M[is_learnt_M],
        lost_M2=lost_M2[is_learnt_M],
        rows_added=len(starts) - len(lengths_N) if policy == "split" else 0,
        rows_truncated=int(is_long_N[rows_M[is_learnt_M]].sum()) if policy == "truncate" else 0,
        dropped=dropped,
    )


def _sums(flags_T: npt.NDArray[np.bool_], starts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How many flags each stretch holds; stretches go from their start to the next one's."""
    if not len(starts):
        return np.empty(0, dtype=np.int64)
    sums: npt.NDArray[np.int64] = np.add.reduceat(flags_T, starts, dtype=np.int64)
    return sums
