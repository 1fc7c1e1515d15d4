"""Read rows from JSONL files, one at a time, and list what is wrong with them all at once.

From the first fault on no row is handed out any more, yet every line is still judged, so that one message names the first
twenty faults and their number. Whoever writes rows somewhere has to throw that away when DataError comes.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from luthier.config.data import Format
from luthier.floor.errors import DataError
from luthier.text.json_lines import HEAD_BYTES, check_head, parse_object, read_lines
from luthier.text.problems import LineFault, Problems
from luthier.text.row_files import find_files
from luthier.text.row_shapes import FIELDS, Message, Row, RowKind, guess_kind, make_row

__all__ = ["Message", "Row", "RowKind", "find_files", "first_row", "read_rows"]


def read_rows(
    files: Sequence[Path], format: Format, *, unused_fields: Counter[str] | None = None
) -> Iterator[Row]:
    """Yield the rows of `files` in order. `auto` takes the format of the first row and refuses rows that differ.

    `unused_fields` counts the rows that carry a field which their format does not use.
    Raises DataError naming file:line of the first twenty faults (exit code 3), or that there is no row at all.
    """
    problems = Problems()
    kind: RowKind | None = None if format == "auto" else format
    rows = 0
    for file in files:
        for line_number, line, is_ended in _lines_of(file, problems):
            origin = f"{file}:{line_number}"
            try:
                fields = parse_object(line, is_ended=is_ended, path=file)
                kind = kind or guess_kind(fields)
                row = make_row(fields, kind, origin)
            except LineFault as fault:
                problems.add(origin, fault)
                continue
            rows += 1
            if unused_fields is not None and len(fields) > len(FIELDS[kind]):
                unused_fields.update(fields.keys() - FIELDS[kind])
            if not problems.count:
                yield row
    problems.raise_if_any()
    if not rows:
        raise _empty(files)


def first_row(files: Sequence[Path], format: Format) -> Row:
    """The first row, to see what the files hold; raises DataError as `read_rows` does."""
    return next(read_rows(files, format))


def _lines_of(file: Path, problems: Problems) -> Iterator[tuple[int, bytes, bool]]:
    """The lines of a file, or none of them if its first bytes show that it is no UTF-8 text."""
    is_first = True
    for number, line, is_ended in read_lines(file):
        if is_first:
            is_first = False
            head = line[:HEAD_BYTES]
            try:
                check_head(head, file)
            except LineFault as fault:
                problems.add(str(file), fault)
                return
        yield number, line, is_ended


def _empty(files: Sequence[Path]) -> DataError:
    names = ", ".join(str(file) for file in files[:5]) + (" ..." if len(files) > 5 else "")
    return DataError(
        "data-empty",
        f"there is no row in {names}",
        where=names,
        fix='Give one row a line, such as {"prompt": "...", "completion": "..."}',
    )
