"""Read rows from files, one at a time, and list what is wrong with them all at once.

From the first fault on no row is handed out any more, yet every record is still judged, so that one message names the first
twenty faults and their number. Whoever writes rows somewhere has to throw that away when DataError comes.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from luthier.config.data import DataConfig, FileFormat, Format
from luthier.floor.errors import DataError
from luthier.text.carried import carry
from luthier.text.columns import Columns, named_columns
from luthier.text.problems import LineFault, Problems
from luthier.text.readers.formats import read_records
from luthier.text.readers.record import Fields, Record
from luthier.text.row import Message, Row, RowKind
from luthier.text.row_files import find_files
from luthier.text.shapes import SHAPE_OF, Shape, guess_shape, unused_fields

__all__ = [
    "FileSet",
    "Message",
    "Row",
    "RowKind",
    "find_files",
    "first_row",
    "read_held_out",
    "read_rows",
    "read_rows_of",
]


@dataclass(frozen=True)
class FileSet:
    """Files that are read alike: their format, and the columns that make a row."""

    files: tuple[Path, ...]
    file_format: FileFormat = "auto"
    columns: Columns | None = None
    """None: a format's own fields, or columns whose names are known."""
    may_lack_columns: bool = False
    """Whether a file that does not have the columns is read as if none were named."""
    group_by: str | None = None
    """The field that a row carries as its group; every row must have it."""
    stratify_by: str | None = None
    """The field that a row carries as its stratum; every row must have it."""

    def records(self, file: Path, problems: Problems) -> Iterator[Record]:
        """The records of one of the files; of a table without a header, where the columns are named by position."""
        by_position = bool(self.columns and self.columns.are_positions)
        return read_records(file, problems, file_format=self.file_format, by_position=by_position)


def read_rows(
    files: Sequence[Path], format: Format | RowKind, *, unused_fields: Counter[str] | None = None
) -> Iterator[Row]:
    """Yield the rows of `files` in order. `auto` takes the format of the first row and refuses rows that differ.

    `unused_fields` counts the rows that carry a field which their format does not use.
    Raises DataError naming the place of the first twenty faults (exit code 3), or that there is no row at all.
    """
    return read_rows_of([FileSet(tuple(files))], format, unused_fields=unused_fields)


def read_held_out(path: Path, data: DataConfig, format: Format) -> Iterator[Row]:
    """Rows to judge by, read as a recipe reads those to train on: by its pattern, and by its columns where the files have them."""
    files = find_files(path, data.pattern)
    rows = read_rows_of(
        [FileSet(tuple(files), "auto", named_columns(data.columns), may_lack_columns=True)], format
    )
    for row in rows:
        if row.kind == "tokens":
            raise DataError(
                "data-field",
                "the held-out rows are tokens, without a text to ask and to compare with",
                where=row.origin,
                fix="Give them as text, such as prompt and completion. Validation during training takes tokens: data.validation_path.",
            )
        yield row


def read_rows_of(
    sets: Sequence[FileSet], format: Format | RowKind, *, unused_fields: Counter[str] | None = None
) -> Iterator[Row]:
    """The same of several sets of files, one after the other; a set that holds no row is refused."""
    problems = Problems()
    kind: RowKind | None = None if format == "auto" else format
    for each in sets:
        rows = 0
        for file in each.files:
            maker = _Maker(each, unused_fields)
            for origin, fields in each.records(file, problems):
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
            raise _empty(each.files, problems)
    problems.raise_if_any()
    if unused_fields is not None:
        unused_fields.update(problems.passed_over)


def first_row(each: FileSet, format: Format) -> Row:
    """The first row, to see what the files hold; raises DataError as `read_rows` does."""
    return next(read_rows_of([each], format))


def first_shape(each: FileSet, format: Format) -> str:
    """What the first row is written as, for people: `Alpaca: instruction, input, output`, or the columns that were named."""
    problems = Problems()
    kind: RowKind | None = None if format == "auto" else format
    maker = _Maker(each, None)
    for file in each.files:
        for origin, fields in each.records(file, problems):
            try:
                maker.make(fields, kind, origin)
            except LineFault as fault:
                problems.add(origin, fault)
                problems.raise_if_any()
            return maker.looks
    problems.raise_if_any()
    raise _empty(each.files, problems)


class _Maker:
    """Makes rows of the records of one file, whose first one decides which shape they have if no columns are named."""

    def __init__(self, each: FileSet, unused: Counter[str] | None) -> None:
        columns = self._columns = each.columns
        self._may_lack_columns = each.may_lack_columns
        named = {"group": each.group_by, "stratum": each.stratify_by}
        self._carried = {name: field for name, field in named.items() if field}
        self._shape: Shape | None = SHAPE_OF[columns.kind] if columns else None
        self._used: frozenset[str] = columns.used if columns else frozenset()
        self._unused = unused

    @property
    def looks(self) -> str:
        """What the rows are written as."""
        assert self._shape, "no row was made yet"
        return f"columns {', '.join(sorted(self._used))}" if self._columns else self._shape.looks

    def make(self, fields: Fields, kind: RowKind | None, origin: str) -> Row:
        """The row; raises LineFault."""
        if self._columns and self._may_lack_columns and not self._columns.are_in(fields):
            self._columns = self._shape = None
        self._may_lack_columns = False  # the first record decides
        if self._shape is None:
            self._shape = guess_shape(fields, kind)
            self._used = self._shape.fields
        row = self._shape.row(self._columns.pick(fields) if self._columns else fields, origin)
        if kind is not None and row.kind != kind:
            raise LineFault("data-field", _another_kind(row.kind, kind))
        if self._carried:
            carried = {name: carry(fields, field) for name, field in self._carried.items()}
            row = replace(row, group=carried.get("group", ""), stratum=carried.get("stratum", ""))
        if self._unused is not None and (not fields.keys() <= self._used or self._shape.name == "oasst"):
            self._unused.update(self._not_read(fields))
        return row

    def _not_read(self, fields: Fields) -> list[str]:
        carried = self._carried.values()
        if self._columns:
            return sorted(fields.keys() - self._used - set(carried))
        assert self._shape
        return [name for name in unused_fields(fields, self._shape) if name not in carried]


def _another_kind(kind: RowKind, rest: RowKind) -> str:
    if {kind, rest} == {"messages", "prompt_completion"}:
        here, there = ("messages", "text") if kind == "messages" else ("text", "messages")
        return f"prompt or completion is {here} here and {there} in the rest: put all turns into 'messages'"
    return f"makes a row of {kind}, and the rest is {rest}"


def _empty(files: Sequence[Path], problems: Problems) -> DataError:
    passed_over = ", ".join(f"{count:,} {what}" for what, count in problems.passed_over.most_common(8))
    names = ", ".join(str(file) for file in files[:5]) + (" ..." if len(files) > 5 else "")
    return DataError(
        "data-empty",
        f"there is no row in {names}",
        where=names,
        why=f"Passed over: {passed_over}." if passed_over else "",
        fix='Give one row a line, such as {"prompt": "...", "completion": "..."}',
    )
