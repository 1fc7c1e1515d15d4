"""What the stores of rows share: flat binary files in a folder that is published when it is complete, and mapped into memory.

    origins.bin  int64 pairs: the source's number and the line of each row
    meta.json    format, rows, sizes and SHA-256 of each file, the sources' names

A reader finds all of a store or nothing. Knows neither ids nor texts.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from luthier.floor.errors import DataError
from luthier.floor.files import TEMPORARY_PREFIX, disk_faults, publish_folder, sha256_of, write_json
from luthier.tokens.origin import join_origin, split_origin

META = "meta.json"
ORIGINS = "origins.bin"

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class FlatFormat:
    """One kind of store."""

    name: str
    files: tuple[str, ...]
    trained: tuple[str, ...]
    """The files that decide what is trained; where rows came from does not."""
    borders: str
    """The file whose size tells the number of rows."""
    bytes_a_row: int
    bytes_beside: int = 0
    decisive: tuple[str, ...] = ()
    """What of meta.json decides what is trained, too."""

    def fingerprint(self, hashes: dict[str, str], meta: dict[str, Any]) -> str:
        """One hash for all that decides what is trained."""
        parts = [hashes[name] for name in self.trained]
        parts += [json.dumps(meta[name], sort_keys=True) for name in self.decisive]
        return hashlib.sha256("".join(parts).encode()).hexdigest()


class FlatWriter:
    """Write a store; use it as a context manager. Leaving the block with an error leaves nothing on the disk.

    `is_synced` is false for a store inside a folder that is synced and published as a whole later.
    """

    FORMAT: ClassVar[FlatFormat]

    def __init__(self, folder: Path, *, is_synced: bool = True) -> None:
        self.folder = folder
        self.rows = 0
        self._is_synced = is_synced
        self._temporary = folder.with_name(f"{TEMPORARY_PREFIX}{folder.name}-{os.getpid()}")
        self._files: dict[str, IO[bytes]] = {}
        self._hashes = {name: hashlib.sha256() for name in self.FORMAT.files}
        self._sources: dict[str, int] = {}

    def __enter__(self) -> Self:
        with disk_faults(self.folder):
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary.mkdir(parents=True)
            for name in self.FORMAT.files:
                self._files[name] = open(self._temporary / name, "wb")
        return self

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

    def facts(self) -> dict[str, Any]:
        """What this kind of store says of itself in meta.json, besides what all say."""
        return {}

    def _publish(self) -> None:
        if self._is_synced:
            return publish_folder(self._temporary, self.folder)
        with disk_faults(self.folder):
            return os.rename(self._temporary, self.folder)

    def _write(self, name: str, content: bytes) -> None:
        self._hashes[name].update(content)
        with disk_faults(self.folder):
            self._files[name].write(content)

    def _write_origins(self, origins: Sequence[str]) -> None:
        pairs = [self._origin(origin) for origin in origins]
        self._write(ORIGINS, np.asarray(pairs, dtype="<i8").tobytes())

    def _origin(self, origin: str) -> tuple[int, int]:
        """The source's number and the line; a source is named once."""
        found = split_origin(origin)
        assert found is not None, f"{origin!r} is no origin"
        source, line = found
        return self._sources.setdefault(source, len(self._sources)), line

    def _meta(self) -> dict[str, Any]:
        hashes = {name: self._hashes[name].hexdigest() for name in self.FORMAT.files}
        facts = self.facts()
        return {
            "format": self.FORMAT.name,
            "rows": self.rows,
            **facts,
            "fingerprint": self.FORMAT.fingerprint(hashes, facts),
            "files": {
                name: {"bytes": (self._temporary / name).stat().st_size, "sha256": hashes[name]}
                for name in self.FORMAT.files
            },
            "sources": list(self._sources),
        }


class FlatStore:
    """Rows mapped into memory: opening costs nothing, a row is a slice."""

    FORMAT: ClassVar[FlatFormat]

    def __init__(self, folder: Path, meta: dict[str, Any]) -> None:
        self.folder = folder
        self.rows: int = meta["rows"]
        self.fingerprint: str = meta["fingerprint"]
        """Hash of all that is trained, in order."""
        self.sources: list[str] = meta["sources"]
        self._files: dict[str, dict[str, Any]] = meta["files"]
        self._origins = map_file(folder / ORIGINS, "<i8").reshape(-1, 2)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map the store in `folder`; the files' sizes are checked, their hashes by `verify`.

        Raises DataError (data-cache) if the store is not there or damaged.
        """
        try:
            meta, form = json.loads((folder / META).read_text(encoding="utf-8")), cls.FORMAT
            for name in form.files:
                expected, found = meta["files"][name]["bytes"], (folder / name).stat().st_size
                if found != expected:
                    raise damaged(folder, f"{name} has {found} bytes instead of {expected}")
            if meta["format"] != form.name:
                raise damaged(folder, f"its format is {meta['format']}, this version reads {form.name}")
            hashes = {name: meta["files"][name]["sha256"] for name in form.files}
            if meta["fingerprint"] != form.fingerprint(hashes, meta):
                raise damaged(folder, f"{META} contradicts itself")
            if meta["files"][form.borders]["bytes"] != form.bytes_a_row * meta["rows"] + form.bytes_beside:
                raise damaged(
                    folder, f"{META} names {meta['rows']} rows, {form.borders} holds another number"
                )
            return cls(folder, meta)
        except FileNotFoundError as fault:
            raise damaged(folder, f"{Path(fault.filename).name} is missing") from fault
        except (ValueError, KeyError, TypeError) as fault:
            raise damaged(folder, f"{META} cannot be read ({fault})") from fault

    def origin(self, row: int) -> str:
        """Where the row came from: `file:line` or `file#row N`."""
        source, line = self._origins[row]
        return join_origin(self.sources[source], int(line))

    @property
    def source_numbers_N(self) -> npt.NDArray[np.int64]:
        """Of each row, the number of its source in `sources`."""
        return np.asarray(self._origins[:, 0], dtype=np.int64)

    def rows_of(self, source: str, line: int) -> list[int]:
        """The rows that came from a line of a source, none if it is not here; more than one if the line was split."""
        if source not in self.sources:
            return []
        is_from_N = (self._origins[:, 0] == self.sources.index(source)) & (self._origins[:, 1] == line)
        return np.flatnonzero(is_from_N).tolist()

    def verify(self) -> None:
        """Read every file and compare its SHA-256; raises DataError (data-cache) naming the one that differs."""
        for name in self.FORMAT.files:
            if sha256_of(self.folder / name) != self._files[name]["sha256"]:
                raise damaged(self.folder, f"{name} is not what was written (its SHA-256 differs)")


def map_file(path: Path, dtype: str) -> Array:
    """A read-only view of a file; an empty file cannot be mapped, so it becomes an empty array."""
    if not path.stat().st_size:
        return np.empty(0, dtype=dtype)
    return np.asarray(np.memmap(path, dtype=dtype, mode="r"))


def damaged(folder: Path, what: str) -> DataError:
    """The refusal of a store that is not as it was written."""
    return DataError(
        "data-cache",
        f"the prepared rows are damaged: {what}",
        where=str(folder),
        fix="Prepare them again: luthier prepare RECIPE --again",
    )
