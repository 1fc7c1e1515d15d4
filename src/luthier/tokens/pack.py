"""Lay rows end to end in packs of at most so many tokens, so that no step trains on padding.

Knows lengths only. Best fit decreasing (Johnson 1973: at most 11/9 of the fewest packs, plus one): the longest waiting row
goes into the fullest pack that still takes it.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from luthier.floor.errors import DataError


def pack_rows(lengths: Sequence[int], *, pack_tokens: int) -> list[list[int]]:
    """Packs as lists of row numbers; every row is in exactly one pack and none is cut.

    Rows of a pack and packs come in ascending order of their (first) row. The same lengths always give the same packs.
    Raises DataError (data-long) if a row alone does not fit.
    """
    waiting = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    if waiting and lengths[waiting[0]] > pack_tokens:
        raise _too_long(waiting[0], int(lengths[waiting[0]]), pack_tokens)
    shelf = _Shelf()
    packs: list[list[int]] = []
    for row in waiting:
        length = int(lengths[row])
        pack, room = shelf.take(length) or (len(packs), pack_tokens)
        if pack == len(packs):
            packs.append([])
        packs[pack].append(row)
        shelf.put(pack, room - length)
    return sorted(sorted(pack) for pack in packs)


def restarting_positions(lengths: Sequence[int]) -> npt.NDArray[np.int64]:
    """The position of each token of a pack in its own row: every row starts again at 0, so that none sees another."""
    return np.concatenate([np.arange(length, dtype=np.int64) for length in lengths])


class _Shelf:
    """Open packs by the room left in them; there are few different rooms, so the sorted list of those stays short."""

    def __init__(self) -> None:
        self._rooms: list[int] = []
        self._packs: dict[int, list[int]] = {}

    def put(self, pack: int, room: int) -> None:
        if room == 0:
            return
        if room not in self._packs:
            insort(self._rooms, room)
            self._packs[room] = []
        self._packs[room].append(pack)

    def take(self, length: int) -> tuple[int, int] | None:
        """The fullest pack with room for `length` tokens, and that room; None if there is none."""
        place = bisect_left(self._rooms, length)
        if place == len(self._rooms):
            return None
        room = self._rooms[place]
        pack = self._packs[room].pop()
        if not self._packs[room]:
            del self._packs[room]
            del self._rooms[place]
        return pack, room


def _too_long(row: int, length: int, pack_tokens: int) -> DataError:
    return DataError(
        "data-long",
        f"row {row} has {length} tokens and does not fit a pack of {pack_tokens}",
        fix=f"Raise train.pack_tokens to {length}, or lower data.max_length to {pack_tokens}.",
    )
