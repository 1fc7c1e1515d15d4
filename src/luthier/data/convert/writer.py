"""Write the rows to a temporary name beside their file, and give them its name when all of them are there."""

import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from luthier.data.convert.inputs import Inputs
from luthier.floor.errors import UsageError
from luthier.floor.files import TEMPORARY_PREFIX, disk_faults, sync_folder


def default_output(source: Path) -> Path:
    """Where rows go unless a file is named: beside their source, under its name."""
    source = source.resolve()
    if source.is_dir():
        return source.with_name(f"{source.name}.jsonl")
    output = source.with_suffix(".jsonl")
    return source.with_name(f"{source.stem}.converted.jsonl") if output == source else output


def report_path(output: Path) -> Path:
    """Where the report of a conversion lies: beside the rows, with a name that no pattern of rows matches."""
    stem = output.name.removesuffix(".jsonl")
    return output.with_name(f"{stem}.report.json")


def check_output(output: Path, inputs: Inputs, *, overwrite: bool) -> None:
    """Raise UsageError if the rows would replace something that was not given up for it."""
    if not output.exists():
        return
    if not output.is_file():
        raise UsageError("usage", f"{output} is no file that rows could be written to", where="--out")
    if any(output.samefile(path) for path in inputs.paths):
        fix = "Name another file: --out FILE"
        raise UsageError("usage", f"{output} is the source itself", where="--out", fix=fix)
    if not overwrite:
        raise UsageError(
            "usage",
            f"{output} is there already",
            where="--out",
            fix="Name another file with --out, or replace this one: --overwrite",
        )


class RowWriter:
    """A file of rows on its way. Left without `finish`, nothing of it stays; without a path, it only counts."""

    def __init__(self, output: Path | None) -> None:
        self._output = output
        self._file: IO[bytes] | None = None
        self._hash = hashlib.sha256()
        self._temporary = output and output.with_name(f"{TEMPORARY_PREFIX}{output.name}-{os.getpid()}")

    def __enter__(self) -> Self:
        if self._output and self._temporary:
            with disk_faults(self._output):
                self._output.parent.mkdir(parents=True, exist_ok=True)
                self._file = open(self._temporary, "wb")  # closed by finish or __exit__
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file and self._temporary:
            self._file.close()
            self._temporary.unlink(missing_ok=True)

    def write(self, line: str) -> None:
        """Add a line. Raises EnvironmentFault if the disk is full."""
        if self._file and self._output:
            content = line.encode("utf-8")
            with disk_faults(self._output):
                self._file.write(content)
            self._hash.update(content)

    def finish(self) -> str | None:
        """Bring the rows to the disk under their name; returns their SHA-256."""
        if not (self._file and self._output and self._temporary):
            return None
        with disk_faults(self._output):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._temporary, self._output)
            sync_folder(self._output.parent)
        return self._hash.hexdigest()
