"""Read rows from files, one at a time, and list what is wrong with them all at once.

From the first fault on no row is handed out any more, yet every record is still judged, so that one message names the first
twenty faults and their number. Whoever writes rows somewhere has to throw that away when DataError comes.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from luthier.config.data import FileFormat, Format
from luthier.floor.errors import DataError
from luthier.text.columns import Columns, recognise_columns
from luthier.text.problems import LineFault, Problems
from luthier.text.readers.formats import read_records
from luthier.text.readers.record import Fields
from luthier.text.row_files import find_files
from luthier.text.row_shapes import FIELDS, Message, Row, RowKind, guess_kind, make_row

__all__ = ["FileSet", "Message", "Row", "RowKind", "find_files", "first_row", "read_rows", "read_rows_of"]


USED_FIELDS: Mapping[RowKind, frozenset[str]] = {kind: frozenset(names) for kind, names in FIELDS.items()}


@dataclass(frozen=True)
class FileSet:
    """Files that are read alike: their format, and the columns that make a row."""

    files: tuple[Path, ...]
    file_format: FileFormat = "auto"
    columns: Columns | None = None
    """None: a format's own fields, or columns whose names are known."""


def read_rows(
    files: Sequence[Path], format: Format, *, unused_fields: Counter[str] | None = None
) -> Iterator[Row]:
    """Yield the rows of `files` in order. `auto` takes the format of the first row and refuses rows that differ.

    `unused_fields` counts the rows that carry a field which their format does not use.
    Raises DataError naming the place of the first twenty faults (exit code 3), or that there is no row at all.
    """
    return read_rows_of([FileSet(tuple(files))], format, unused_fields=unused_fields)


def read_rows_of(
    sets: Sequence[FileSet], format: Format, *, unused_fields: Counter[str] | None = None
) -> Iterator[Row]:
    """The same of several sets of files, one after the other; a set that holds no row is refused."""
    problems = Problems()
    kind: RowKind | None = None if format == "auto" else format
    for each in sets:
        rows = 0
        for file in each.files:
            maker = _Maker(each.columns, unused_fields)
            for origin, fields in read_records(file, problems, file_format=each.file_format):
                try:
                    row = maker.make(fields, kind, origin)
                except LineFault as fault:
                    problems.add(origin, fault)
                    continue
                kind = row.kind
                rows += 1
                if not problems.count:
                    yield row
        if not rows and not problems.count:
            raise _empty(each.files)
    problems.raise_if_any()


def first_row(each: FileSet, format: Format) -> Row:
    """The first row, to see what the files hold; raises DataError as `read_rows` does."""
    return next(read_rows_of([each], format))


class _Maker:
    """Makes rows of the records of one file, whose first one decides which columns are read if nobody named them."""

    def __init__(self, columns: Columns | None, unused_fields: Counter[str] | None) -> None:
        self._columns = columns
        self._is_settled = columns is not None
        self._unused = unused_fields

    def make(self, fields: Fields, kind: RowKind | None, origin: str) -> Row:
        """The row; raises LineFault."""
        if not self._is_settled:
            self._columns, self._is_settled = recognise_columns(fields), True
        columns = self._columns
        kind = kind or (columns.kind if columns else guess_kind(fields))
        if columns is not None and columns.kind != kind:
            raise LineFault("data-field", f"the columns make a row of {columns.kind}, and the rest is {kind}")
        row = make_row(columns.pick(fields) if columns else fields, kind, origin)
        if self._unused is not None:
            used = columns.used if columns else USED_FIELDS[kind]
            if not fields.keys() <= used:
                self._unused.update(fields.keys() - used)
        return row


def _empty(files: Sequence[Path]) -> DataError:
    names = ", ".join(str(file) for file in files[:5]) + (" ..." if len(files) > 5 else "")
    return DataError(
        "data-empty",
        f"there is no row in {names}",
        where=names,
        fix='Give one row a line, such as {"prompt": "...", "completion": "..."}',
    )
