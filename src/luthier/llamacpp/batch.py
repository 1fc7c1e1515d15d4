"""One batch of tokens as llama.cpp takes it: each with its position, the row it belongs to, and whether its logits are wanted."""

import ctypes
from collections.abc import Sequence

from luthier.llamacpp import abi


def make_batch(
    ids: Sequence[int], positions: Sequence[int], rows: Sequence[int], wanted: Sequence[bool]
) -> abi.Batch:
    """A batch over arrays that it keeps alive."""
    count = len(ids)
    assert count == len(positions) == len(rows) == len(wanted), "one of each for every token"
    numbers = {row: (ctypes.c_int32 * 1)(row) for row in set(rows)}
    pointers = [ctypes.cast(numbers[row], ctypes.POINTER(ctypes.c_int32)) for row in rows]
    return abi.Batch(
        n_tokens=count,
        token=(ctypes.c_int32 * count)(*ids),
        pos=(ctypes.c_int32 * count)(*positions),
        n_seq_id=(ctypes.c_int32 * count)(*[1] * count),
        seq_id=(ctypes.POINTER(ctypes.c_int32) * count)(*pointers),
        logits=(ctypes.c_int8 * count)(*wanted),
    )
