"""The order of an epoch cut into windows, and the rows of each put together: packs of best fit, or batches of like length.

What a window holds depends on the seed, the epoch, the window and the lengths of its own rows, never on the rows behind it: so
rows can be tokenized as the order reaches them. Within a window the groups are shuffled again: the last packs of one are the
emptiest and would meet in the same steps, and ascending lengths would be a curriculum that nobody asked for.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

import numpy as np

from luthier.tokens.lengths import Lengths, Numbers
from luthier.tokens.order import derive_seed, permutation
from luthier.tokens.pack import pack_rows

# Rows best-fit packing and bucketing may choose among: few enough that neighbours in the order stay near each other.
WINDOW_ROWS = 2048
# The last pack of a window is left half empty on average: 64 make that a loss of 0.8 % (bench/packing/fill.json).
WINDOW_PACKS = 64
KEPT_WINDOWS = 4

Groups = list[list[int]]


class Windows(Protocol):
    """One epoch's groups of rows, by number."""

    def groups(self, first: int, stop: int) -> Groups:
        """The groups from `first` up to before `stop`; fewer where the epoch ends before."""

    def total(self) -> int:
        """How many groups the epoch has; every window is looked into where that cannot be reckoned."""


class PackWindows:
    """Packs of at most so many tokens. A window is so many rows, or more where those do not fill so many packs."""

    def __init__(
        self, lengths: Lengths, order_N: Numbers, *, pack_tokens: int, seed: int, epoch: int
    ) -> None:
        self._lengths = lengths
        self._order_N = order_N
        self._pack_tokens = pack_tokens
        self._seed, self._epoch = seed, epoch
        self.most_rows = 0
        """Rows of the fullest pack of the windows looked into."""
        self._starts = [0]
        """Where each window looked into begins in the order, and behind the last of them where the next one will."""
        self._firsts = [0]
        """The number of each window's first pack, likewise."""
        self._packs = lru_cache(maxsize=KEPT_WINDOWS)(self._pack_window)

    def groups(self, first: int, stop: int) -> Groups:
        while self._firsts[-1] < stop and self._look_further():
            pass
        found: Groups = []
        window = int(np.searchsorted(self._firsts, first, side="right")) - 1
        while window < len(self._firsts) - 1 and self._firsts[window] < stop:
            before = self._firsts[window]
            found += self._packs(window)[max(0, first - before) : stop - before]
            window += 1
        return found

    def total(self) -> int:
        while self._look_further():
            pass
        return self._firsts[-1]

    def share_before(self, group: int) -> float:
        """The share of the epoch's rows that lies before a group, in whole windows and parts of one by its packs."""
        window = max(0, int(np.searchsorted(self._firsts, group, side="left")) - 1)
        if window + 1 >= len(self._firsts):
            return self._starts[-1] / len(self._order_N)
        part = (group - self._firsts[window]) / (self._firsts[window + 1] - self._firsts[window])
        rows = self._starts[window] + part * (self._starts[window + 1] - self._starts[window])
        return min(1.0, rows / len(self._order_N))

    def _look_further(self) -> bool:
        """Look into one more window; False if there is none."""
        if self._starts[-1] >= len(self._order_N):
            return False
        packs = self._packs(len(self._firsts) - 1)
        self._firsts.append(self._firsts[-1] + len(packs))
        self.most_rows = max(self.most_rows, *map(len, packs), 0)
        return True

    def _pack_window(self, window: int) -> Groups:
        start = self._starts[window]
        stop = self._starts[window + 1] if window + 1 < len(self._starts) else self._end_of_window(start)
        if window + 1 == len(self._starts):
            self._starts.append(stop)
        lengths_S = self._lengths.along(self._order_N, start, stop)
        rows_S = self._order_N[start:stop][lengths_S > 0]
        packs = pack_rows(lengths_S[lengths_S > 0].tolist(), pack_tokens=self._pack_tokens)
        return _shuffled(
            [rows_S[pack].tolist() for pack in packs], seed=self._seed, epoch=self._epoch, window=window
        )

    def _end_of_window(self, start: int) -> int:
        enough = WINDOW_PACKS * self._pack_tokens
        stop = min(start + WINDOW_ROWS, len(self._order_N))
        while True:
            ends_S = np.cumsum(self._lengths.along(self._order_N, start, stop))
            filled = start + int(np.searchsorted(ends_S, enough))
            if filled < stop or stop == len(self._order_N):
                return max(filled, min(start + WINDOW_ROWS, stop))
            stop = min(stop + WINDOW_ROWS, len(self._order_N))


class BatchWindows:
    """Batches of so many rows of like length; only the last one of the epoch may hold fewer."""

    def __init__(self, lengths: Lengths, order_N: Numbers, *, batch_size: int, seed: int, epoch: int) -> None:
        self._lengths = lengths
        self._order_N = order_N
        self._batch_size = batch_size
        self._seed, self._epoch = seed, epoch
        # Whole micro-batches a window, so that no window but the last leaves a smaller one.
        self._batches_of_window = max(1, WINDOW_ROWS // batch_size)
        self._batches: Callable[[int], Groups] = lru_cache(maxsize=KEPT_WINDOWS)(self._sort_window)

    def groups(self, first: int, stop: int) -> Groups:
        numbers = range(first, min(stop, self.total()))
        places = [divmod(number, self._batches_of_window) for number in numbers]
        return [self._batches(window)[place] for window, place in places]

    def total(self) -> int:
        return -(-len(self._order_N) // self._batch_size)

    def _sort_window(self, window: int) -> Groups:
        rows = self._batches_of_window * self._batch_size
        start, stop = window * rows, min((window + 1) * rows, len(self._order_N))
        lengths_S = self._lengths.along(self._order_N, start, stop)
        by_length = np.argsort(lengths_S, kind="stable")
        batches = [
            by_length[first : first + self._batch_size]
            for first in range(0, len(by_length), self._batch_size)
        ]
        kept = [self._order_N[start:stop][batch[lengths_S[batch] > 0]].tolist() for batch in batches]
        return _shuffled(kept, seed=self._seed, epoch=self._epoch, window=window)


def _shuffled(groups: Groups, *, seed: int, epoch: int, window: int) -> Groups:
    drawn = permutation(len(groups), seed=derive_seed("window", seed, epoch, window), epoch=epoch)
    return [groups[number] for number in drawn.tolist()]
