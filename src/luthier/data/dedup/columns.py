"""Columns of numbers that grow row by row: in memory up to a budget, in files beyond it; and rows grouped by equal keys.

Grouping sorts one range of keys at a time, as many ranges as the budget needs, and yields the same groups in the same order
whatever the budget.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from luthier.floor.files import disk_faults

SCAN_ROWS = 2**20
SORT_BYTES_A_ROW = 40  # key, its copy, row number, order, and what argsort takes

Array = NDArray[Any]


class Columns:
    """Named columns; all go to files in `folder` once they hold more than half of `budget_bytes` together.

    Half, since joining the pieces of a column in memory takes its size once more.
    """

    def __init__(self, folder: Path, *, budget_bytes: int) -> None:
        self.spilled_bytes = 0
        self._folder = folder
        self._budget_bytes = budget_bytes
        self._pieces: dict[str, list[Array]] = {}
        self._files: dict[str, BinaryIO] = {}
        self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()

    def append(self, name: str, piece: Array) -> None:
        """Lengthen a column. Raises EnvironmentFault if the disk refuses what does not fit into memory."""
        self._pieces.setdefault(name, []).append(np.ascontiguousarray(piece))
        self._bytes += piece.nbytes
        if self._bytes > self._budget_bytes // 2:
            self._spill()

    def close(self) -> dict[str, Array]:
        """The columns as arrays; those in files are mapped, read-only."""
        if self._files:
            self._spill()
        found: dict[str, Array] = {}
        for name, pieces in self._pieces.items():
            if name not in self._files:
                found[name] = np.concatenate(pieces)
                pieces.clear()
                continue
            self._files[name].close()
            mapped = np.memmap(self._folder / name, dtype=pieces[0].dtype, mode="r")
            found[name] = mapped.reshape(-1, *pieces[0].shape[1:])
        return found

    def _spill(self) -> None:
        with disk_faults(self._folder):
            for name, pieces in self._pieces.items():
                if name not in self._files:
                    self._files[name] = open(self._folder / name, "wb")  # noqa: SIM115  # closed in close()
                for piece in pieces:
                    self._files[name].write(piece.data)
                    self.spilled_bytes += piece.nbytes
                pieces[:] = [pieces[0][:0]]  # dtype and shape are needed later
        self._bytes = 0


def equal_groups(keys_N: Array, *, budget_bytes: int, among_N: Array | None = None) -> Iterator[Array]:
    """Row numbers, ascending, of each key that two rows or more share; groups come by ascending key.

    `among_N` says which rows take part.
    """
    for rows, keys in _sorted_ranges(keys_N, budget_bytes, among_N):
        starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1], [True]]))
        sizes = np.diff(starts)
        for number in np.flatnonzero(sizes > 1):
            yield rows[starts[number] : starts[number + 1]]


def _sorted_ranges(keys_N: Array, budget_bytes: int, among_N: Array | None) -> Iterator[tuple[Array, Array]]:
    """Rows and keys in the order of keys, then of rows, one range of keys after another."""
    if not len(keys_N):
        return
    ranges = min(-(-len(keys_N) * SORT_BYTES_A_ROW // max(1, budget_bytes)), len(keys_N))
    bounds = [number * 2**64 // ranges for number in range(ranges + 1)]
    for low, high in itertools.pairwise(bounds):
        rows, keys = [], []
        for start in range(0, len(keys_N), SCAN_ROWS):
            block = np.asarray(keys_N[start : start + SCAN_ROWS])
            is_in = (block >= np.uint64(low)) & (block <= np.uint64(high - 1))
            if among_N is not None:
                is_in &= among_N[start : start + SCAN_ROWS]
            rows.append(np.flatnonzero(is_in) + start)
            keys.append(block[is_in])
        row, key = np.concatenate(rows), np.concatenate(keys)
        if len(key):
            order = np.argsort(key, kind="stable")
            yield row[order], key[order]
