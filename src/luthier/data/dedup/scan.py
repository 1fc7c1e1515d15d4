"""Read rows with the place where each lies, and read single rows again later.

Their texts are never kept: an offset is, and what is needed again is read again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from luthier.data.alike.wording import Wording, wording_of
from luthier.data.dedup.lines import state_of
from luthier.data.dedup.row_file import RowFile
from luthier.floor.errors import DataError
from luthier.text.json_lines import LONGEST_LINE_BYTES
from luthier.text.problems import LineFault, Problems
from luthier.text.row_files import reading
from luthier.text.row_shapes import RowKind, guess_kind, make_row


@dataclass(frozen=True, slots=True)
class PlacedRow:
    """A row's texts and its place: number of the file, line, offset."""

    file: int
    line: int
    offset: int
    wording: Wording


def read_rows_of(files: Sequence[RowFile]) -> Iterator[PlacedRow]:
    """The rows of all files in order; each file has the shape of its own first row.

    Raises DataError naming the first twenty faults; from the first fault on, rows are judged but no longer handed out.
    """
    problems = Problems()
    for number, file in enumerate(files):
        kind: RowKind | None = None
        for placed in file.rows(problems):
            origin = file.origin(placed.number)
            try:
                fields = file.pick(placed.fields)
                kind = kind or guess_kind(fields)
                row = make_row(fields, kind, origin)
            except LineFault as fault:
                problems.add(origin, fault)
                continue
            if not problems.count:
                yield PlacedRow(number, placed.number, placed.offset, wording_of(row))
    problems.raise_if_any()


class Rereader:
    """Reads rows again by file and offset. The files must still be those that were scanned."""

    def __init__(self, files: Sequence[RowFile]) -> None:
        self._files = files
        self._open: BinaryIO | None = None
        self._open_number = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._open:
            self._open.close()

    def wording(self, file: int, offset: int) -> Wording:
        """The row that starts there. Raises DataError (data-changed) if it no longer does."""
        row_file = self._files[file]
        with reading(row_file.path):
            if self._open is None or self._open_number != file:
                if self._open:
                    self._open.close()
                self._open, self._open_number = open(row_file.lines, "rb"), file  # noqa: SIM115  # closed in __exit__
            self._open.seek(offset)
            content = self._open.readline(LONGEST_LINE_BYTES + 2)
        try:
            fields = row_file.pick(row_file.parse(content))
            return wording_of(make_row(fields, guess_kind(fields), str(row_file.path)))
        except LineFault as fault:
            raise _changed(row_file.path) from fault

    def check_unchanged(self) -> None:
        """Raise DataError (data-changed) if a file was written since this reader was made."""
        for each in self._files:
            if state_of(each.path) != each.state:
                raise _changed(each.path)


def _changed(path: Path) -> DataError:
    return DataError(
        "data-changed",
        f"{path} changed while it was read",
        where=str(path),
        why="Rows are read a second time, and would be others than those that were compared.",
        fix="Wait until nothing writes to it, then repeat the command.",
    )
