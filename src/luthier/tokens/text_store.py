"""Keep the texts of rows that are tokenized when training reaches them: any row by its number, mapped into memory.

    texts.bin    every row as bytes, packed by zlib where that makes it shorter (the first byte says which)
    spans.bin    int64 triples: where each row begins, its bytes there, and its bytes unpacked; copies of a row share one
    origins.bin, meta.json: flat_files.py; `made_for` says what the texts will be tokenized with

Knows bytes only: what they say is text/row_bytes.py's.
"""

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from luthier.tokens.flat_files import FlatFormat, FlatStore, FlatWriter, damaged, map_file

FORMAT = FlatFormat(
    "luthier-texts/1",
    files=("texts.bin", "spans.bin", "origins.bin"),
    trained=("texts.bin", "spans.bin"),
    borders="spans.bin",
    bytes_a_row=24,
    decisive=("made_for",),
)
PLAIN, PACKED = b"\0", b"\1"
# The fastest level: on 30 MB of documentation it takes 0.6 s and halves them (bench/tokenize/strategies.json).
ZLIB_LEVEL = 1
# Shorter rows repeat too little of themselves.
LEAST_PACKED_BYTES = 256


class TextStoreWriter(FlatWriter):
    """Write a text store. `made_for` is all that decides, besides the texts, which tokens they become."""

    FORMAT = FORMAT

    def __init__(self, folder: Path, *, made_for: Mapping[str, str | int], is_synced: bool = True) -> None:
        super().__init__(folder, is_synced=is_synced)
        self._made_for = dict(made_for)
        self._end = 0
        self._last: tuple[bytes, tuple[int, int, int]] = (b"", (0, 0, 0))

    def append(self, content: bytes, origin: str) -> None:
        """Add one row; `origin` is `file:line` or `file#row N`. Raises EnvironmentFault if the disk is full."""
        if self.rows == 0 or content != self._last[0]:
            stored = _packed(content)
            self._write("texts.bin", stored)
            self._last = content, (self._end, len(stored), len(content))
            self._end += len(stored)
        self._write("spans.bin", np.asarray(self._last[1], dtype="<i8").tobytes())
        self._write_origins([origin])
        self.rows += 1

    def facts(self) -> dict[str, Any]:
        return {"made_for": self._made_for}


class TextStore(FlatStore):
    """Rows of text; the fingerprint covers the texts of all rows, in order, and what they were made for."""

    FORMAT = FORMAT

    def __init__(self, folder: Path, meta: dict[str, Any]) -> None:
        super().__init__(folder, meta)
        self.made_for: dict[str, str | int] = meta["made_for"]
        self._texts = map_file(folder / "texts.bin", "u1")
        self._spans = map_file(folder / "spans.bin", "<i8").reshape(-1, 3)

    def content(self, row: int) -> bytes:
        """A row as it was given to the writer. Raises DataError (data-cache) if it was damaged since."""
        start, size, _ = self._spans[row].tolist()
        stored = self._texts[start : start + size].tobytes()
        if stored[:1] == PLAIN:
            return stored[1:]
        try:
            return zlib.decompress(stored[1:])
        except zlib.error as fault:
            raise damaged(self.folder, f"row {row} cannot be unpacked ({fault})") from fault

    def bytes_of(self, rows_N: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """How many bytes each of the rows has."""
        return np.asarray(self._spans[rows_N, 2], dtype=np.int64)


def _packed(content: bytes) -> bytes:
    if len(content) >= LEAST_PACKED_BYTES:
        packed = zlib.compress(content, ZLIB_LEVEL)
        if len(packed) < len(content):
            return PACKED + packed
    return PLAIN + content
