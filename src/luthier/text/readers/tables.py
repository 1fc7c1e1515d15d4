"""Rows of a table as text: CSV and TSV with a header, from whatever program wrote them.

The csv module of the standard library does the parsing, strictly. It gets one line at a time, none beyond the limit, since it
would take a stray quotation mark for the opening of a field that goes on to the end of the file.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from luthier.floor.units import format_bytes
from luthier.text.columns import POSITION
from luthier.text.json_lines import HEAD_BYTES, LONGEST_LINE_BYTES, UTF8_BOM, check_head, decode_line
from luthier.text.problems import LineFault, Problems
from luthier.text.readers.compressed import Stream, open_stream
from luthier.text.readers.record import Record

MOST_COLUMNS = 10_000
SKIP_BYTES = 2**20
SHOWN_NAMES = 8


def read_table(
    path: Path, problems: Problems, *, separator: str | None = None, by_position: bool = False
) -> Iterator[Record]:
    """One record a line of the table, its values as text; an empty cell is an empty text. Blank lines are passed over.

    Without a `separator` it is what the header has, a comma or a semicolon. With `by_position` the table has no header, unless its first line names a column so: its columns are column_1, column_2 and so on.
    """
    lines: _Lines | None = None
    try:
        with open_stream(path) as file:
            check_head(file.peek(HEAD_BYTES)[:HEAD_BYTES], path)
            lines = _Lines(path, file)
            yield from _read_rows(path, lines, problems, separator, by_position=by_position)
    except LineFault as fault:
        problems.add(f"{path}:{lines.number}" if lines and lines.number else str(path), fault)


class _Lines:
    """The lines of a table as text, with their ends, and the number of the last one that was given out.

    A line that cannot be given out is a LineFault; the next one follows all the same.
    """

    def __init__(self, path: Path, file: Stream) -> None:
        self.number = 0
        self._path = path
        self._file = file

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        line = self._file.readline(LONGEST_LINE_BYTES + 1)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) > LONGEST_LINE_BYTES:
            while line and not line.endswith(b"\n"):
                line = self._file.readline(SKIP_BYTES)
            raise LineFault("data-line", f"the line is longer than {format_bytes(LONGEST_LINE_BYTES)}")
        if (nul_at := line.find(b"\0")) >= 0:
            raise LineFault("data-csv", f"a NUL byte at byte {nul_at + 1}; the file is damaged or no text")
        return decode_line(line.removeprefix(UTF8_BOM) if self.number == 1 else line, self._path)


def _read_rows(
    path: Path, lines: _Lines, problems: Problems, separator: str | None, *, by_position: bool
) -> Iterator[Record]:
    csv.field_size_limit(LONGEST_LINE_BYTES)
    header_line = next(lines, "")
    separator = separator or (";" if ";" in header_line and "," not in header_line else ",")
    rows = csv.reader(_WithFirst(header_line, lines), delimiter=separator, strict=True)
    header: list[str] | None = None
    while True:
        start = lines.number if header is None else lines.number + 1
        try:
            values = next(rows, None)
        except csv.Error as fault:
            what = _in_words(str(fault), path, start, lines.number)
            if header is None:
                raise LineFault("data-csv", what) from fault
            problems.add(f"{path}:{start}", LineFault("data-csv", what))
            continue
        except LineFault as fault:
            if header is None or fault.code == "data-archive":
                raise
            problems.add(f"{path}:{lines.number}", fault)
            continue
        if values is None:
            return
        if not values:
            continue
        if header is None:
            is_header = not by_position or any(map(POSITION.fullmatch, values))
            header = _checked(values if is_header else [f"column_{at}" for at in range(1, len(values) + 1)])
            if is_header:
                continue
        if len(values) != len(header):
            what = f"{len(values)} fields, and the header has {len(header)}: {_names(header)}"
            problems.add(f"{path}:{start}", LineFault("data-csv", what))
        else:
            yield f"{path}:{start}", dict(zip(header, values, strict=True))


class _WithFirst:
    """A line that was looked at, and those behind it; goes on after a fault, as a generator would not."""

    def __init__(self, first: str, rest: _Lines) -> None:
        self._first: str | None = first
        self._rest = rest

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        first, self._first = self._first, None
        return next(self._rest) if first is None else first


def _checked(header: list[str]) -> list[str]:
    if len(header) > MOST_COLUMNS:
        raise LineFault("data-csv", f"the header names {len(header)} columns")
    seen: set[str] = set()
    for name in header:
        if name in seen:
            raise LineFault("data-csv", f"the header names the column {name[:40]!r} twice: {_names(header)}")
        seen.add(name)
    return header


def _names(header: list[str]) -> str:
    shown = ", ".join(name[:40] for name in header[:SHOWN_NAMES])
    return shown + (", ..." if len(header) > SHOWN_NAMES else "")


def _in_words(reason: str, path: Path, start: int, end: int) -> str:
    if "unexpected end of data" in reason or "field larger" in reason:
        return f'a quotation mark that opens a field here is not closed by line {end}; write "" for one inside a field'
    if "new-line character" in reason:
        return f"a carriage return that ends no line; convert the line ends: dos2unix -c mac {path}"
    if "expected after" in reason:
        return 'text behind a closing quotation mark; write "" for one inside a field'
    return f"not readable as a table: {reason}"
