"""Keep prepared rows as flat binary files that are mapped into memory, never read whole.

    ids.bin      every row's token ids end to end, little-endian uint16 or uint32
    trained.bin  one byte an id: 1 if it carries loss
    offsets.bin  int64, rows + 1: where each row begins
    counts.bin   int32: tokens of the row that carry loss
    lost.bin     int32 pairs: tokens that were cut off the row, and how many of its tokens lost their loss
    origins.bin, meta.json: flat_files.py

Knows numbers only: templates live in text/, what is kept is decided in data/. Axes: N rows, T tokens of several rows end to end.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from luthier.tokens.flat_files import Array, FlatFormat, FlatStore, FlatWriter, map_file
from luthier.tokens.lengths import KnownLengths

FORMAT = FlatFormat(
    "luthier-tokens/2",
    files=("ids.bin", "trained.bin", "offsets.bin", "counts.bin", "origins.bin", "lost.bin"),
    trained=("ids.bin", "trained.bin", "offsets.bin"),
    borders="offsets.bin",
    bytes_a_row=8,
    bytes_beside=8,
)
LARGEST_UINT16_VOCABULARY = 2**16


class StoreWriter(FlatWriter):
    """Write a token store. `vocabulary_size` says how wide an id is kept: two bytes where that is enough, else four."""

    FORMAT = FORMAT

    def __init__(self, folder: Path, *, vocabulary_size: int = 2**32, is_synced: bool = True) -> None:
        super().__init__(folder, is_synced=is_synced)
        self.tokens = 0
        self.trained_tokens = 0
        self.largest_id = -1
        self._ids_dtype = np.dtype("<u2" if vocabulary_size <= LARGEST_UINT16_VOCABULARY else "<u4")

    def __enter__(self) -> Self:
        super().__enter__()
        self._write("offsets.bin", bytes(8))
        return self

    def append(self, ids: Sequence[int], trained: Sequence[bool], origin: str) -> None:
        """Add one row; `origin` is `file:line` or `file#row N`."""
        self.append_block(np.asarray(ids), np.asarray(trained, dtype=bool), np.asarray([len(ids)]), [origin])

    def append_block(
        self,
        ids_T: Array,
        trained_T: Array,
        lengths_N: Array,
        origins: Sequence[str],
        *,
        lost_N2: Array | None = None,
    ) -> None:
        """Add N rows that lie end to end in `ids_T` and `trained_T`; every row holds at least one token.

        `lost_N2` says of each row how many tokens were cut off, and how many trained ones it lost; None means none.

        Raises EnvironmentFault if the disk is full.
        """
        rows = len(lengths_N)
        assert len(origins) == rows, f"{len(origins)} origins for {rows} rows"
        assert len(ids_T) == len(trained_T) == int(lengths_N.sum()), "ids, masks and lengths disagree"
        if not rows:
            return
        assert lengths_N.min() > 0, "a row of no tokens"
        largest_id = int(ids_T.max())
        assert largest_id <= np.iinfo(self._ids_dtype).max, "an id beyond the vocabulary"
        ends_N = np.cumsum(lengths_N, dtype=np.int64)
        trained_sums = np.concatenate(([0], np.cumsum(trained_T, dtype=np.int64)))[
            np.concatenate(([0], ends_N))
        ]
        self._write("ids.bin", ids_T.astype(self._ids_dtype).tobytes())
        self._write("trained.bin", trained_T.astype(np.uint8).tobytes())
        self._write("offsets.bin", (ends_N + self.tokens).astype("<i8").tobytes())
        self._write("counts.bin", np.diff(trained_sums).astype("<i4").tobytes())
        self._write_origins(origins)
        lost_N2 = np.zeros((rows, 2), dtype="<i4") if lost_N2 is None else lost_N2
        assert lost_N2.shape == (rows, 2), f"losses of {len(lost_N2)} rows for {rows}"
        self._write("lost.bin", lost_N2.astype("<i4").tobytes())
        self.rows += rows
        self.tokens += int(ends_N[-1])
        self.trained_tokens += int(trained_sums[-1])
        self.largest_id = max(self.largest_id, largest_id)

    def facts(self) -> dict[str, Any]:
        return {
            "tokens": self.tokens,
            "trained_tokens": self.trained_tokens,
            "largest_id": self.largest_id,
            "ids_dtype": self._ids_dtype.str,
        }


class TokenStore(FlatStore):
    """Prepared rows; its fingerprint is a hash of the ids and masks of every row, in order."""

    FORMAT = FORMAT

    def __init__(self, folder: Path, meta: dict[str, Any]) -> None:
        super().__init__(folder, meta)
        self.tokens: int = meta["tokens"]
        self.trained_tokens: int = meta["trained_tokens"]
        self.largest_id: int = meta["largest_id"]
        """-1 if there is no row."""
        self._ids = map_file(folder / "ids.bin", meta["ids_dtype"])
        self._trained = map_file(folder / "trained.bin", "u1").view(np.bool_)
        self._offsets = map_file(folder / "offsets.bin", "<i8")
        self._lost = map_file(folder / "lost.bin", "<i4").reshape(-1, 2)
        self.lengths_N: npt.NDArray[np.int32] = np.diff(self._offsets).astype(np.int32)
        self.trained_counts_N: npt.NDArray[np.int32] = np.asarray(
            map_file(folder / "counts.bin", "<i4"), dtype=np.int32
        )

    @property
    def lengths(self) -> KnownLengths:
        """The rows' lengths, as their order asks for them."""
        return KnownLengths(self.lengths_N)

    @property
    def longest(self) -> int:
        """Tokens of the longest row; 0 if there is none."""
        return int(self.lengths_N.max(initial=0))

    def ids(self, row: int) -> Array:
        """The token ids of a row: a view into the file, not to be written to."""
        return self._ids[self._offsets[row] : self._offsets[row + 1]]

    def trained(self, row: int) -> npt.NDArray[np.bool_]:
        """Which of the row's tokens carry loss; the first never does, since nothing precedes it."""
        return self._trained[self._offsets[row] : self._offsets[row + 1]]

    @property
    def lost_N2(self) -> npt.NDArray[np.int32]:
        """Of each row, how many tokens were cut off and how many trained ones it lost; a view, not to be written to."""
        return self._lost

    def lost(self, row: int) -> tuple[int, int]:
        """How many tokens were cut off the row, and how many trained tokens it lost by being cut."""
        tokens, trained = self._lost[row]
        return int(tokens), int(trained)
