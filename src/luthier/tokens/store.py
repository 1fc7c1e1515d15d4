"""Keep prepared rows as flat binary files that are mapped into memory, never read whole.

    ids.bin      every row's token ids end to end, little-endian uint16 or uint32
    trained.bin  one byte an id: 1 if it carries loss
    offsets.bin  int64, rows + 1: where each row begins
    counts.bin   int32: tokens of the row that carry loss
    origins.bin  int64 pairs: the source's number and the line
    lost.bin     int32 pairs: tokens that were cut off the row, and how many of its tokens lost their loss
    meta.json    sizes, SHA-256 of each file, the sources' names

Knows numbers only: templates live in text/, what is kept is decided in data/. The folder gets its name when it is complete,
so a reader finds all of it or nothing. Axes: N rows, T tokens of several rows end to end.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
import numpy.typing as npt

from luthier.floor.errors import DataError
from luthier.floor.files import TEMPORARY_PREFIX, disk_faults, publish_folder, sha256_of, write_json
from luthier.tokens.lengths import KnownLengths
from luthier.tokens.origin import join_origin, split_origin

FORMAT = "luthier-tokens/2"
META = "meta.json"
NAMES = ("ids.bin", "trained.bin", "offsets.bin", "counts.bin", "origins.bin", "lost.bin")
LARGEST_UINT16_VOCABULARY = 2**16

Array = npt.NDArray[Any]


class StoreWriter:
    """Write a token store; use it as a context manager. Leaving the block with an error leaves nothing on the disk.

    `vocabulary_size` says how wide an id is kept: two bytes where that is enough, else four. `is_synced` is false for a store
    inside a folder that is synced and published as a whole later.
    """

    def __init__(self, folder: Path, *, vocabulary_size: int = 2**32, is_synced: bool = True) -> None:
        self.folder = folder
        self._is_synced = is_synced
        self.rows = 0
        self.tokens = 0
        self.trained_tokens = 0
        self.largest_id = -1
        self._ids_dtype = np.dtype("<u2" if vocabulary_size <= LARGEST_UINT16_VOCABULARY else "<u4")
        self._temporary = folder.with_name(f"{TEMPORARY_PREFIX}{folder.name}-{os.getpid()}")
        self._files: dict[str, IO[bytes]] = {}
        self._hashes = {name: hashlib.sha256() for name in NAMES}
        self._sources: dict[str, int] = {}

    def __enter__(self) -> Self:
        with disk_faults(self.folder):
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary.mkdir(parents=True)
            for name in NAMES:
                self._files[name] = open(self._temporary / name, "wb")
        self._write("offsets.bin", np.zeros(1, dtype="<i8"))
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
        self._write("ids.bin", ids_T.astype(self._ids_dtype))
        self._write("trained.bin", trained_T.astype(np.uint8))
        self._write("offsets.bin", (ends_N + self.tokens).astype("<i8"))
        self._write("counts.bin", np.diff(trained_sums).astype("<i4"))
        self._write("origins.bin", np.asarray([self._origin(origin) for origin in origins], dtype="<i8"))
        lost_N2 = np.zeros((rows, 2), dtype="<i4") if lost_N2 is None else lost_N2
        assert lost_N2.shape == (rows, 2), f"losses of {len(lost_N2)} rows for {rows}"
        self._write("lost.bin", lost_N2.astype("<i4"))
        self.rows += rows
        self.tokens += int(ends_N[-1])
        self.trained_tokens += int(trained_sums[-1])
        self.largest_id = max(self.largest_id, largest_id)

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with disk_faults(self.folder), ExitStack() as closing:
                for file in self._files.values():  # each of them, though the disk refuses the rest of one
                    closing.callback(file.close)
            if kind is None:
                write_json(self._temporary / META, self._meta())
                self._publish()
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _publish(self) -> None:
        if self._is_synced:
            return publish_folder(self._temporary, self.folder)
        with disk_faults(self.folder):
            return os.rename(self._temporary, self.folder)

    def _write(self, name: str, values: Array) -> None:
        content = values.tobytes()
        self._hashes[name].update(content)
        with disk_faults(self.folder):
            self._files[name].write(content)

    def _origin(self, origin: str) -> tuple[int, int]:
        """The source's number and the line; a source is named once."""
        found = split_origin(origin)
        assert found is not None, f"{origin!r} is no origin"
        source, line = found
        return self._sources.setdefault(source, len(self._sources)), line

    def _meta(self) -> dict[str, Any]:
        hashes = {name: self._hashes[name].hexdigest() for name in NAMES}
        return {
            "format": FORMAT,
            "rows": self.rows,
            "tokens": self.tokens,
            "trained_tokens": self.trained_tokens,
            "largest_id": self.largest_id,
            "ids_dtype": self._ids_dtype.str,
            "fingerprint": _fingerprint(hashes),
            "files": {
                name: {"bytes": (self._temporary / name).stat().st_size, "sha256": hashes[name]}
                for name in NAMES
            },
            "sources": list(self._sources),
        }


class TokenStore:
    """Prepared rows, mapped into memory: opening costs nothing, a row is a slice."""

    def __init__(self, folder: Path, meta: dict[str, Any]) -> None:
        self.folder = folder
        self.rows: int = meta["rows"]
        self.tokens: int = meta["tokens"]
        self.trained_tokens: int = meta["trained_tokens"]
        self.largest_id: int = meta["largest_id"]
        """-1 if there is no row."""
        self.fingerprint: str = meta["fingerprint"]
        """Hash of the ids and masks of every row, in order."""
        self.sources: list[str] = meta["sources"]
        self._files: dict[str, dict[str, Any]] = meta["files"]
        self._ids = _map(folder / "ids.bin", meta["ids_dtype"])
        self._trained = _map(folder / "trained.bin", "u1").view(np.bool_)
        self._offsets = _map(folder / "offsets.bin", "<i8")
        self._origins = _map(folder / "origins.bin", "<i8").reshape(-1, 2)
        self._lost = _map(folder / "lost.bin", "<i4").reshape(-1, 2)
        self.lengths_N: npt.NDArray[np.int32] = np.diff(self._offsets).astype(np.int32)
        self.trained_counts_N: npt.NDArray[np.int32] = np.asarray(
            _map(folder / "counts.bin", "<i4"), dtype=np.int32
        )

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map the store in `folder`; the files' sizes are checked, their hashes by `verify`.

        Raises DataError (data-cache) if the store is not there or damaged.
        """
        try:
            meta = json.loads((folder / META).read_text(encoding="utf-8"))
            for name in NAMES:
                expected, found = meta["files"][name]["bytes"], (folder / name).stat().st_size
                if found != expected:
                    raise _damaged(folder, f"{name} has {found} bytes instead of {expected}")
            if meta["format"] != FORMAT:
                raise _damaged(folder, f"its format is {meta['format']}, this version reads {FORMAT}")
            if meta["fingerprint"] != _fingerprint({name: meta["files"][name]["sha256"] for name in NAMES}):
                raise _damaged(folder, f"{META} contradicts itself")
            if meta["files"]["offsets.bin"]["bytes"] != 8 * (meta["rows"] + 1):
                raise _damaged(folder, f"{META} names {meta['rows']} rows, offsets.bin holds another number")
            return cls(folder, meta)
        except FileNotFoundError as fault:
            raise _damaged(folder, f"{Path(fault.filename).name} is missing") from fault
        except (ValueError, KeyError, TypeError) as fault:
            raise _damaged(folder, f"{META} cannot be read ({fault})") from fault

    @property
    def lengths(self) -> KnownLengths:
        """The rows' lengths, as their order asks for them."""
        return KnownLengths(self.lengths_N)

    def ids(self, row: int) -> Array:
        """The token ids of a row: a view into the file, not to be written to."""
        return self._ids[self._offsets[row] : self._offsets[row + 1]]

    def trained(self, row: int) -> npt.NDArray[np.bool_]:
        """Which of the row's tokens carry loss; the first never does, since nothing precedes it."""
        return self._trained[self._offsets[row] : self._offsets[row + 1]]

    def origin(self, row: int) -> str:
        """Where the row came from: `file:line` or `file#row N`."""
        source, line = self._origins[row]
        return join_origin(self.sources[source], int(line))

    @property
    def source_numbers_N(self) -> npt.NDArray[np.int64]:
        """Of each row, the number of its source in `sources`."""
        return np.asarray(self._origins[:, 0], dtype=np.int64)

    @property
    def lost_N2(self) -> npt.NDArray[np.int32]:
        """Of each row, how many tokens were cut off and how many trained ones it lost; a view, not to be written to."""
        return self._lost

    def lost(self, row: int) -> tuple[int, int]:
        """How many tokens were cut off the row, and how many trained tokens it lost by being cut."""
        tokens, trained = self._lost[row]
        return int(tokens), int(trained)

    def rows_of(self, source: str, line: int) -> list[int]:
        """The rows that came from a line of a source, none if it is not here; more than one if the line was split."""
        if source not in self.sources:
            return []
        is_from_N = (self._origins[:, 0] == self.sources.index(source)) & (self._origins[:, 1] == line)
        return np.flatnonzero(is_from_N).tolist()

    def verify(self) -> None:
        """Read every file and compare its SHA-256; raises DataError (data-cache) naming the one that differs."""
        for name in NAMES:
            if sha256_of(self.folder / name) != self._files[name]["sha256"]:
                raise _damaged(self.folder, f"{name} is not what was written (its SHA-256 differs)")


def _map(path: Path, dtype: str) -> Array:
    """A read-only view of a file; an empty file cannot be mapped, so it becomes an empty array."""
    if not path.stat().st_size:
        return np.empty(0, dtype=dtype)
    return np.asarray(np.memmap(path, dtype=dtype, mode="r"))


def _fingerprint(hashes: dict[str, str]) -> str:
    """One hash for ids, masks and row borders; where rows came from does not change what is trained."""
    return hashlib.sha256("".join(hashes[name] for name in NAMES[:3]).encode()).hexdigest()


def _damaged(folder: Path, what: str) -> DataError:
    return DataError(
        "data-cache",
        f"the prepared tokens are damaged: {what}",
        where=str(folder),
        fix="Prepare them again: luthier prepare RECIPE --again",
    )
