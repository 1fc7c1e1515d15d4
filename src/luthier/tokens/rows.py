"""What training, and whoever looks at what is trained, asks of rows: a token store has it, and so have rows tokenized on the fly."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from luthier.tokens.flat_files import Array
from luthier.tokens.lengths import Lengths


class TrainingRows(Protocol):
    """Rows as ids and masks, by their number from 0."""

    @property
    def rows(self) -> int:
        """How many there are; on the fly those too that will be left out."""

    @property
    def lengths(self) -> Lengths:
        """The rows' lengths, as their order asks for them."""

    @property
    def longest(self) -> int:
        """Tokens of the longest row, or what none of them can pass."""

    @property
    def sources(self) -> list[str]:
        """Where the rows came from; origins name these."""

    def ids(self, row: int) -> Array:
        """The token ids of a row: a view, not to be written to."""

    def trained(self, row: int) -> npt.NDArray[np.bool_]:
        """Which of the row's tokens carry loss; the first never does, since nothing precedes it."""

    def lost(self, row: int) -> tuple[int, int]:
        """How many tokens were cut off the row, and how many trained tokens it lost by being cut."""

    def origin(self, row: int) -> str:
        """Where the row came from: `file:line` or `file#row N`."""

    def rows_of(self, source: str, line: int) -> list[int]:
        """The rows that came from a line of a source."""
