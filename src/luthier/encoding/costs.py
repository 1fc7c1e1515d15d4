"""What each way of dealing with long rows would cost, and how long rows may be for little to be lost.

Axes as in limit.py; P: places within a row.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from luthier.encoding.limit import POLICIES, Policy, fit_block
from luthier.floor.errors import DataError
from luthier.floor.units import count_of
from luthier.text.row import RowKind

if TYPE_CHECKING:
    from luthier.text.render import RenderedBlock

# The share of the trained tokens from which the default refuses to cut. A choice, not a measurement: below it a run's loss
# does not tell the difference, above it somebody should have looked.
MOST_LOST_UNASKED = 0.01
# A piece of a conversation would answer what it does not hold. Of tokens their maker knows whether they may be cut.
CAN_SPLIT: tuple[RowKind, ...] = ("text", "tokens")


@dataclass
class Cost:
    """What one policy would lose."""

    rows: int = 0
    tokens: int = 0
    trained_tokens: int = 0


@dataclass
class Costs:
    """The costs of every policy for the rows of one split, gathered block by block."""

    max_length: int
    may_split: bool
    """Rows of text, and of tokens."""
    trained_tokens: int = 0
    rows_too_long: int = 0
    by_policy: dict[Policy, Cost] = field(default_factory=dict)
    _trained_at_P: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def __post_init__(self) -> None:
        self.by_policy = {policy: Cost() for policy in POLICIES if policy != "split" or self.may_split}

    def add(self, block: "RenderedBlock") -> None:
        """Count a block of rendered rows."""
        self.trained_tokens += int(block.trained_T.sum())
        places_T = np.arange(len(block.ids_T)) - np.repeat(
            np.cumsum(block.lengths_N) - block.lengths_N, block.lengths_N
        )
        counts_P = np.bincount(places_T[block.trained_T], minlength=len(self._trained_at_P))
        counts_P[: len(self._trained_at_P)] += self._trained_at_P
        self._trained_at_P = counts_P
        is_long_N = block.lengths_N > self.max_length
        if not is_long_N.any():
            return
        self.rows_too_long += int(is_long_N.sum())
        long = block.select(is_long_N)
        for policy, cost in self.by_policy.items():
            for loss in fit_block(long, max_length=self.max_length, policy=policy).losses:
                cost.rows += not loss.is_row_kept
                cost.tokens += loss.tokens
                cost.trained_tokens += loss.trained_tokens

    def share(self, policy: Policy) -> float:
        """The share of all trained tokens that a policy would lose."""
        return self.by_policy[policy].trained_tokens / self.trained_tokens if self.trained_tokens else 0.0

    def enough_length(self, most_lost: float = MOST_LOST_UNASKED) -> tuple[int, float]:
        """The least max_length at which cutting at the end loses no more than that share, and what it loses."""
        beyond_P = self.trained_tokens - np.cumsum(self._trained_at_P)  # lost if place P is the last to stay
        place = int(np.argmax(beyond_P <= most_lost * self.trained_tokens))
        return place + 1, float(beyond_P[place]) / max(1, self.trained_tokens)

    def lines(self) -> list[str]:
        """Every choice, with its price."""
        told = {
            "truncate": "cuts rows at their end",
            "truncate_left": "cuts rows at their beginning",
            "drop": "leaves the rows out",
            "split": "cuts a row into several",
        }
        lines = [
            f"data.overlong={policy:<13} {told[policy]}: {cost.trained_tokens:,} trained tokens lost "
            f"({percent(self.share(policy))}), {cost.tokens:,} tokens, {count_of(cost.rows, 'row')}"
            for policy, cost in self.by_policy.items()
        ]
        length, share = self.enough_length()
        return [
            *lines,
            f"data.max_length={length:<11} cuts less at the end: {percent(share)} of the trained tokens lost",
        ]

    def refuse_if_much_is_lost(self, of: str = "") -> None:
        """Raise DataError (data-long) with the price of every choice, if cutting unasked would lose too much.

        `of` says which rows were counted, where it is not all of them.
        """
        share = self.share("truncate")
        if share <= MOST_LOST_UNASKED:
            return
        lost = self.by_policy["truncate"].trained_tokens
        length, _ = self.enough_length()
        raise DataError(
            "data-long",
            f"{percent(share)} of the trained tokens{f' of {of}' if of else ''} ({lost:,} of {self.trained_tokens:,}) lie beyond data.max_length "
            f"{self.max_length}: {count_of(self.rows_too_long, 'row')} {'is' if self.rows_too_long == 1 else 'are'} longer",
            where="data.max_length",
            problems=self.lines(),
            why=f"More than {percent(MOST_LOST_UNASKED)} is not cut off unasked: a model learns to stop where its answers were cut.",
            fix=f"Set data.max_length={length}, or choose by data.overlong what shall be lost.",
        )


def percent(share: float) -> str:
    """`1.25 %`"""
    return f"{100 * share:.3g} %"
