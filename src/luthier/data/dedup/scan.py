"""Read rows with the place where each lies in its file, and read single rows or lines again later.

A row is a line that is not blank. Its texts are never kept: an offset is, and what is needed again is read again.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from luthier.data.dedup.wording import Wording, wording_of
from luthier.floor.errors import DataError, EnvironmentFault, UsageError
from luthier.text.json_lines import HEAD_BYTES, LONGEST_LINE_BYTES, UTF8_BOM, check_head, parse_object
from luthier.text.problems import LineFault, Problems
from luthier.text.readers.compressed import ending_of
from luthier.text.readers.formats import is_plain_lines
from luthier.text.row_shapes import RowKind, guess_kind, make_row

CHUNK_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Line:
    """One row's bytes with its line end, and where they start. `number` counts every line from 1."""

    number: int
    offset: int
    content: bytes


@dataclass(frozen=True, slots=True)
class PlacedRow:
    """A row's texts and its place: number of the file, line, offset."""

    file: int
    line: int
    offset: int
    wording: Wording


def read_rows_of(files: Sequence[Path]) -> Iterator[PlacedRow]:
    """The rows of all files in order; each file has the shape of its own first row.

    Raises DataError naming the first twenty faults; from the first fault on, rows are judged but no longer handed out.
    """
    problems = Problems()
    for number, path in enumerate(files):
        kind: RowKind | None = None
        for line in read_raw_lines(path):
            try:
                if kind is None:
                    check_head(line.content[:HEAD_BYTES], path)
                fields = _parse(line.content, path)
                kind = kind or guess_kind(fields)
                row = make_row(fields, kind, f"{path}:{line.number}")
            except LineFault as fault:
                problems.add(f"{path}:{line.number}", fault)
                if fault.code == "data-enc" and kind is None:
                    break
                continue
            if not problems.count:
                yield PlacedRow(number, line.number, line.offset, wording_of(row))
    problems.raise_if_any()


def check_are_lines(files: Sequence[Path]) -> None:
    """Raise UsageError for a file whose rows are no lines of it: a table, an array, a packed file."""
    for path in files:
        if not is_plain_lines(path) and not _is_json_of_lines(path):
            fix = f"Make lines of its rows first: luthier data convert {path} --out {ending_less(path)}.jsonl"
            what = f"{path} is no file of JSON lines, which are copied byte for byte"
            raise UsageError("usage", what, where="the command line", fix=fix)


def _is_json_of_lines(path: Path) -> bool:
    """Whether a file that is named .json begins with a line that is an object."""
    if path.suffix.lower() != ".json":
        return False
    with reading(path), open(path, "rb") as file:
        line = file.readline(LONGEST_LINE_BYTES).removeprefix(UTF8_BOM).strip()
    return line.startswith(b"{") and line.endswith(b"}")


def ending_less(path: Path) -> str:
    """The name of a file without its endings, as in `a` of `a.jsonl.xz`."""
    return path.name.removesuffix(path.suffix).removesuffix(ending_of(path)) or path.name


def read_raw_lines(path: Path) -> Iterator[Line]:
    """Every line that is not blank, byte for byte; a byte order mark belongs to the file, not to the line.

    A line beyond LONGEST_LINE_BYTES comes cut, just too long for `parse_object`.
    """
    with reading(path), open(path, "rb") as file:
        offset = len(UTF8_BOM) if file.read(len(UTF8_BOM)) == UTF8_BOM else 0
        file.seek(offset)
        number = 0
        while content := file.readline(LONGEST_LINE_BYTES + 2):
            number += 1
            length = len(content)
            is_ended = content.endswith(b"\n")
            while not is_ended and (rest := file.readline(CHUNK_BYTES)):
                length += len(rest)
                is_ended = rest.endswith(b"\n")
            if not content.isspace():
                yield Line(number, offset, content)
            offset += length


def _parse(content: bytes, path: Path) -> dict[str, object]:
    is_ended = content.endswith(b"\n")
    bare = content[:-1].removesuffix(b"\r") if is_ended else content
    return parse_object(bare, is_ended=is_ended, path=path)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn the system's refusals to read `path` into our errors."""
    try:
        yield
    except FileNotFoundError as fault:
        raise DataError("data-missing", f"the file {path} is gone", where=str(path)) from fault
    except PermissionError as fault:
        fix = f"Make it readable: chmod u+r {path}"
        raise EnvironmentFault("env-permission", f"may not read {path}", where=str(path), fix=fix) from fault
    except OSError as fault:
        what = f"cannot read {path}: {fault.strerror}"
        raise EnvironmentFault("env-disk", what, where=str(path)) from fault


class Rereader:
    """Reads rows again by file and offset. The files must still be those that were scanned."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self._states = [_state(path) for path in files]
        self._open: BinaryIO | None = None
        self._open_number = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._open:
            self._open.close()

    def wording(self, file: int, offset: int) -> Wording:
        """The row that starts there. Raises DataError (data-changed) if it no longer does."""
        path = self._files[file]
        with reading(path):
            if self._open is None or self._open_number != file:
                if self._open:
                    self._open.close()
                self._open, self._open_number = open(path, "rb"), file  # noqa: SIM115  # closed in __exit__
            self._open.seek(offset)
            content = self._open.readline(LONGEST_LINE_BYTES + 2)
        try:
            fields = _parse(content, path)
            return wording_of(make_row(fields, guess_kind(fields), str(path)))
        except LineFault as fault:
            raise _changed(path) from fault

    def check_unchanged(self) -> None:
        """Raise DataError (data-changed) if a file was written since this reader was made."""
        for path, before in zip(self._files, self._states, strict=True):
            if _state(path) != before:
                raise _changed(path)


def _state(path: Path) -> tuple[int, int, int]:
    with reading(path):
        found = os.stat(path)
    return found.st_ino, found.st_size, found.st_mtime_ns


def _changed(path: Path) -> DataError:
    return DataError(
        "data-changed",
        f"{path} changed while it was read",
        where=str(path),
        why="Rows are read a second time, and would be others than those that were compared.",
        fix="Wait until nothing writes to it, then repeat the command.",
    )
