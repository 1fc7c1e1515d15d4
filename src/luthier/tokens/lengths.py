"""How long the rows are that an order puts in order: known at once from a token store, or as far as somebody has tokenized.

Row order and packing ask for nothing else, and only along the order of an epoch, a stretch at a time.
"""

from typing import Protocol

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]


class Lengths(Protocol):
    """What the order of rows needs of them. Axes: N rows, S rows of a stretch."""

    @property
    def rows(self) -> int:
        """How many rows there are."""

    @property
    def are_known(self) -> bool:
        """Whether every length can be had without work."""

    def along(self, order_N: Numbers, start: int, stop: int) -> Numbers:
        """Tokens of each of the rows `order_N[start:stop]`; 0 for a row of which nothing is left to learn from."""


class KnownLengths:
    """Lengths that lie there."""

    are_known = True

    def __init__(self, lengths_N: npt.NDArray[np.signedinteger]) -> None:
        self._lengths_N = lengths_N
        self.rows = len(lengths_N)

    def along(self, order_N: Numbers, start: int, stop: int) -> Numbers:
        return self._lengths_N[order_N[start:stop]].astype(np.int64)
