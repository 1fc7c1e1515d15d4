"""Fit rendered rows into max_length by a policy, and leave out rows that nothing is left to learn from.

Works on whole blocks with numpy. Axes: N rows in, M rows out, T tokens end to end.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from luthier.encoding.books import BEYOND, FIRST_OF_PIECE, NO_TRAINED_TOKEN, TOO_LONG, Loss
from luthier.text.problems import LineFault, Problems
from luthier.text.row import Row

if TYPE_CHECKING:
    from luthier.text.render import RenderedBlock

Policy = Literal["truncate", "truncate_left", "drop", "split"]
Overlong = Literal["auto", "error"] | Policy
POLICIES: tuple[Policy, ...] = ("truncate", "truncate_left", "drop", "split")

Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class FittedBlock:
    """Rows that fit, and what became of the others."""

    ids_T: npt.NDArray[np.uint32]
    trained_T: Flags
    lengths_M: Numbers
    rows_M: Numbers
    """Which of the N rows each one comes from."""
    lost_M2: Numbers
    """Of each row: tokens cut off, and trained tokens lost."""
    rows_added: int
    rows_truncated: int
    losses: list[Loss]
    """Every row that was left out, and every one that lost something."""

    @property
    def dropped(self) -> Counter[str]:
        """Rows left out, by reason."""
        return Counter(loss.reason for loss in self.losses if not loss.is_row_kept)


def applied_policy(overlong: Overlong) -> Policy:
    """What is done to long rows: `auto` and `error` refuse them elsewhere, and cut the others as `truncate` does."""
    return "truncate" if overlong == "auto" or overlong == "error" else overlong


def note_too_long(
    problems: Problems, rows: Sequence[Row], block: "RenderedBlock", *, max_length: int, longest: int
) -> None:
    """Keep a fault (data-long) for every row beyond `max_length`; `longest` is that of the rows seen so far."""
    for number in np.flatnonzero(block.lengths_N > max_length).tolist():
        what = f"{block.lengths_N[number]} tokens, more than data.max_length {max_length}"
        fix = f"Raise data.max_length (at most {longest} so far), or set data.overlong=truncate."
        problems.add(rows[number].origin, LineFault("data-long", what, fix=fix))


def fit_block(block: "RenderedBlock", *, max_length: int, policy: Policy) -> FittedBlock:
    """Cut, leave out or split the rows beyond `max_length` tokens.

    `truncate` keeps a row's first tokens, `truncate_left` its last ones. `split` cuts it into pieces of `max_length` that, end
    to end, are the row. The first token of what is kept carries no loss, since nothing precedes it there.
    """
    lengths_N = block.lengths_N
    assert lengths_N.min(initial=1) > 0, "a row of no tokens"
    rows_T = np.repeat(np.arange(len(lengths_N)), lengths_N)
    places_T = np.arange(len(block.ids_T)) - np.repeat(np.cumsum(lengths_N) - lengths_N, lengths_N)
    pieces = _Pieces.cut(rows_T, places_T, lengths_N, max_length, policy)
    keep_T, starts = pieces.keep_T, pieces.starts
    trained_T = block.trained_T & ~pieces.starts_T
    ids_T, trained_T = block.ids_T[keep_T], trained_T[keep_T]
    lengths_M = np.diff(np.append(starts, len(ids_T)))
    rows_M = rows_T[keep_T][starts]
    trained_M = _sums(trained_T, starts)
    is_learnt_M = trained_M > 0
    learnt_T = np.repeat(is_learnt_M, lengths_M)
    if policy == "split":
        lost_M2 = np.stack(
            [np.zeros_like(rows_M), _sums(block.trained_T[keep_T], starts) - trained_M], axis=1
        )
    else:
        whole_N = _sums(block.trained_T, np.cumsum(lengths_N) - lengths_N)
        lost_M2 = np.stack([lengths_N[rows_M] - lengths_M, whole_N[rows_M] - trained_M], axis=1)
    is_cut_M = lengths_N[rows_M] > max_length
    losses = [*_rows_lost(block, pieces, rows_M), *_losses(rows_M, lengths_M, lost_M2, is_learnt_M, policy)]
    return FittedBlock(
        ids_T=ids_T[learnt_T],
        trained_T=trained_T[learnt_T],
        lengths_M=lengths_M[is_learnt_M],
        rows_M=rows_M[is_learnt_M],
        lost_M2=lost_M2[is_learnt_M],
        rows_added=len(starts) - len(lengths_N) if policy == "split" else 0,
        rows_truncated=int(is_cut_M[is_learnt_M].sum()) if policy.startswith("truncate") else 0,
        losses=losses,
    )


@dataclass(frozen=True)
class _Pieces:
    """Which tokens stay, and where pieces start: among all tokens, and among those that stay."""

    keep_T: Flags
    starts_T: Flags
    starts: Numbers

    @classmethod
    def cut(
        cls, rows_T: Numbers, places_T: Numbers, lengths_N: Numbers, max_length: int, policy: Policy
    ) -> "_Pieces":
        """By the policy."""
        if policy == "split":
            keep_T, starts_T = np.ones(len(rows_T), dtype=bool), places_T % max_length == 0
        elif policy == "truncate_left":
            first_N = np.maximum(lengths_N - max_length, 0)
            keep_T, starts_T = places_T >= first_N[rows_T], places_T == first_N[rows_T]
        else:
            keep_T = places_T < max_length if policy == "truncate" else lengths_N[rows_T] <= max_length
            starts_T = places_T == 0
        return cls(keep_T, starts_T, np.flatnonzero(starts_T[keep_T]))


def _rows_lost(block: "RenderedBlock", pieces: _Pieces, rows_M: Numbers) -> Iterator[Loss]:
    """Rows of which nothing stays."""
    is_lost_N = np.ones(len(block.lengths_N), dtype=bool)
    is_lost_N[rows_M] = False
    if is_lost_N.any():
        trained_N = _sums(block.trained_T, np.cumsum(block.lengths_N) - block.lengths_N)
        for row in np.flatnonzero(is_lost_N).tolist():
            yield Loss(row, TOO_LONG, int(block.lengths_N[row]), int(trained_N[row]), is_row_kept=False)


def _losses(
    rows_M: Numbers, lengths_M: Numbers, lost_M2: Numbers, is_learnt_M: Flags, policy: Policy
) -> Iterator[Loss]:
    """What is cut off rows, and rows and pieces that have nothing to learn from."""
    reason = FIRST_OF_PIECE if policy == "split" else BEYOND
    for piece in np.flatnonzero(lost_M2.any(axis=1) | ~is_learnt_M).tolist():
        row, (tokens, trained) = int(rows_M[piece]), lost_M2[piece].tolist()
        if is_learnt_M[piece]:
            yield Loss(row, reason, tokens, trained, is_row_kept=True)
        else:
            yield Loss(row, NO_TRAINED_TOKEN, int(lengths_M[piece]) + tokens, trained, is_row_kept=False)


def _sums(flags_T: Flags, starts: Numbers) -> Numbers:
    """How many flags each stretch holds; stretches go from their start to the next one's."""
    if not len(starts):
        return np.empty(0, dtype=np.int64)
    sums: Numbers = np.add.reduceat(flags_T, starts, dtype=np.int64)
    return sums
