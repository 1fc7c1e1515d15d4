"""Encode rows in blocks by llama.cpp's own C code, which is several times as fast as the `gguf` library's numpy and gives the same
bytes (but for the sign of a scale that is nothing).

Only ggml's base library is loaded, and only rows of our own pass through it: nothing here reads a file of a stranger's. What it gives is held
against the `gguf` library's bytes before it is used for a type; where they differ, the library goes on alone.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Encode = Callable[[Array, str], Array]

# enum ggml_type, numbers that files hold and that never change; numbers and bytes of a block (ggml-common.h).
BLOCKS = {
    "Q4_0": (2, 32, 18),
    "Q4_1": (3, 32, 20),
    "Q5_0": (6, 32, 22),
    "Q5_1": (7, 32, 24),
    "Q8_0": (8, 32, 34),
}
TRIED_ROWS, TRIED_COLUMNS = 16, 256


def block_encoder(library: Path, known: Encode) -> Encode:
    """An encoder as `known`, by the ggml library beside `library` for every type of which both give the same bytes."""
    quantize = _quantize_chunk(library)
    if quantize is None:
        return known

    def by_c(rows: Array, type: str) -> Array:
        number, block, block_bytes = BLOCKS[type]
        rows = np.ascontiguousarray(rows, dtype=np.float32)
        count, width = rows.shape
        encoded = np.empty((count, width // block * block_bytes), dtype=np.uint8)
        # ctypes lets other threads run meanwhile.
        quantize(number, rows.ctypes.data, encoded.ctypes.data, 0, count, width, None)
        return encoded

    @cache
    def is_same(type: str) -> bool:
        generator = np.random.default_rng(0)
        rows = generator.standard_normal((TRIED_ROWS, TRIED_COLUMNS), dtype=np.float32)
        rows[0], rows[1, ::2] = 0.0, 0.5  # a block of nothing, and ties of rounding
        return bool(np.array_equal(by_c(rows, type), known(rows, type)))

    return lambda rows, type: by_c(rows, type) if type in BLOCKS and is_same(type) else known(rows, type)


def _quantize_chunk(library: Path) -> Any:
    """ggml_quantize_chunk, or None where the build has no library of its own for it."""
    found = sorted(library.parent.glob("libggml-base*.so"))
    try:
        function: Any = ctypes.CDLL(str(found[0])).ggml_quantize_chunk
    except (IndexError, OSError, AttributeError):
        return None
    function.restype = ctypes.c_size_t
    function.argtypes = (
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_void_p,
    )
    return function
