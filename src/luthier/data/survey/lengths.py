"""How long rows are, and what a cut-off costs. Reads lengths and masks of a store, one row at a time."""

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from luthier.reports.survey import LengthBin, LengthCost, Lengths
from luthier.tokens.store import TokenStore

MOST_BINS = 48
WIDTHS = sorted(
    {
        *(digit * 10**power for power in range(8) for digit in (1, 2, 4, 5, 8)),
        *(2**power for power in range(24)),
    }
)
CANDIDATES = tuple(2**power for power in range(6, 18))
# With a tail this long, bins of one width would put nearly all rows into the first.
LONG_TAIL = 12


def count_lengths(store: TokenStore, max_length: int, *, trained_tokens_lost: int) -> Lengths:
    """The lengths of a store's rows as they were before they were cut.

    `trained_tokens_lost` is what the cut-off lost in all; what the stored rows do not account for went with rows left out.
    """
    lost_N2 = store.lost_N2
    whole_N = store.lengths_N.astype(np.int64) + lost_N2[:, 0]
    median, longest = int(np.median(whole_N)), int(whole_N.max())
    is_log = longest > LONG_TAIL * max(1, median)
    reach = max(longest, max_length) if max_length <= 4 * longest else longest
    return Lengths(
        bins=(_log_bins if is_log else _even_bins)(whole_N, reach, max_length),
        is_log=is_log,
        shortest=int(whole_N.min()),
        median=median,
        longest=longest,
        max_length=max_length,
        rows_cut=int((lost_N2[:, 0] > 0).sum()),
        tokens_lost=int(lost_N2[:, 0].sum()),
        trained_tokens_lost=int(lost_N2[:, 1].sum()),
        trained_tokens_gone=max(0, trained_tokens_lost - int(lost_N2[:, 1].sum())),
        costs=list(_costs(store, whole_N, max_length)),
    )


def _even_bins(whole_N: npt.NDArray[np.int64], reach: int, max_length: int) -> list[LengthBin]:
    """Bins of a round width, such that one ends at the cut-off if any width allows it."""
    fitting = [width for width in WIDTHS if reach <= width * MOST_BINS]
    width = next((each for each in fitting[:4] if max_length % each == 0), fitting[0])
    return _counted(whole_N, list(range(0, reach + width, width)))


def _log_bins(whole_N: npt.NDArray[np.int64], reach: int, max_length: int) -> list[LengthBin]:
    """Four bins a doubling, and an edge at the cut-off."""
    edges = {0, max_length, *(round(2 ** (quarter / 4)) for quarter in range(4 * (reach.bit_length() + 1)))}
    shortest = int(whole_N.min())
    below = max(edge for edge in edges if edge < shortest)
    inside = sorted(edge for edge in edges if below <= edge < reach)
    return _counted(whole_N, [*inside, reach])


def _counted(whole_N: npt.NDArray[np.int64], edges: list[int]) -> list[LengthBin]:
    """Rows between edges; a row as long as an edge is in the bin that ends there."""
    rows = np.diff(np.searchsorted(np.sort(whole_N), edges, side="right"))
    return [
        LengthBin(low=low + 1, high=high, rows=int(count))
        for (low, high), count in zip(itertools.pairwise(edges), rows, strict=True)
    ]


def _costs(store: TokenStore, whole_N: npt.NDArray[np.int64], max_length: int) -> Iterator[LengthCost]:
    """The price of each candidate up to the recipe's own; what was cut off already is lost to all of them."""
    lost_before = int(store.lost_N2[:, 1].sum())
    for length in sorted({*CANDIDATES, max_length}):
        if length > max_length or length >= 2 * int(whole_N.max()):
            continue
        long = np.flatnonzero(store.lengths_N > length)
        trained = sum(int(store.trained(row)[length:].sum()) for row in long.tolist())
        yield LengthCost(
            max_length=length,
            rows_cut=int((whole_N > length).sum()),
            tokens_lost=int(np.maximum(whole_N - length, 0).sum()),
            trained_tokens_lost=trained + lost_before,
        )
