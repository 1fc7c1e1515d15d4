"""A file whose rows can be read again one at a time: a file of JSON lines as it is, any other by a copy of its rows as lines.

A row of a table, an array or a packed file lies at no offset, so that its fields are written to the copy while they are read.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.data.dedup.lines import read_raw_lines, state_of
from luthier.floor.files import disk_faults
from luthier.floor.units import format_bytes
from luthier.text.columns import Columns
from luthier.text.json_lines import HEAD_BYTES, LONGEST_LINE_BYTES, UTF8_BOM, check_head, parse_object
from luthier.text.problems import LineFault, Problems
from luthier.text.readers.endings import is_plain_lines
from luthier.text.readers.formats import read_records
from luthier.text.readers.record import as_json_line, split_origin
from luthier.text.row_files import reading

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Placed:
    """The fields of a row, its number as its origin tells it, and where it starts in what is read again."""

    number: int
    offset: int
    fields: Fields


class RowFile:
    """One file. `copy` is where lines are written of a file that has none; it need not be there yet."""

    def __init__(
        self,
        path: Path,
        copy: Path | None = None,
        *,
        columns: Columns | None = None,
        may_lack_columns: bool = False,
    ) -> None:
        self.path = path
        self.state = state_of(path)
        """What tells that the file was written since."""
        self.lines = path if copy is None or are_lines(path) else copy
        """Where the offsets lie."""
        self.marker = ":"
        """What stands between the file's name and a row's number."""
        self._columns = columns
        self._may_lack_columns = may_lack_columns

    def origin(self, number: int) -> str:
        """`data/train.jsonl:17`, or `data/train.parquet#row 17`."""
        return f"{self.path}{self.marker}{number}"

    def rows(self, problems: Problems) -> Iterator[Placed]:
        """Every row that can be read; the others go to `problems`."""
        return self._rows_of_lines(problems) if self.lines == self.path else self._rows_of_reader(problems)

    def pick(self, fields: Fields) -> Mapping[str, Any]:
        """The fields that make a row. Raises LineFault if a column that was named is not there."""
        if self._columns and self._may_lack_columns and not self._columns.are_in(fields):
            self._columns = None
        self._may_lack_columns = False  # the first record decides
        return self._columns.pick(fields) if self._columns else fields

    def parse(self, content: bytes) -> Fields:
        """The object in a line of the file, or of its copy. Raises LineFault."""
        is_ended = content.endswith(b"\n")
        bare = content[:-1].removesuffix(b"\r") if is_ended else content
        return parse_object(bare, is_ended=is_ended, path=self.path)

    def _rows_of_lines(self, problems: Problems) -> Iterator[Placed]:
        is_first = True
        for line in read_raw_lines(self.path):
            try:
                if is_first:
                    check_head(line.content[:HEAD_BYTES], self.path)
                fields = self.parse(line.content)
            except LineFault as fault:
                problems.add(self.origin(line.number), fault)
                if fault.code == "data-enc" and is_first:
                    return
                continue
            is_first = False
            yield Placed(line.number, line.offset, fields)

    def _rows_of_reader(self, problems: Problems) -> Iterator[Placed]:
        by_position = bool(self._columns and self._columns.are_positions)
        offset = 0
        with ExitStack() as stack:
            with disk_faults(self.lines):
                copy = stack.enter_context(open(self.lines, "wb"))
            for origin, fields in read_records(self.path, problems, by_position=by_position):
                self.marker, number = split_origin(origin, self.path)
                content = as_json_line(fields)
                if len(content) > LONGEST_LINE_BYTES:
                    what = f"the record is longer than {format_bytes(LONGEST_LINE_BYTES)}"
                    problems.add(origin, LineFault("data-line", what))
                    continue
                with disk_faults(self.lines):
                    copy.write(content)
                yield Placed(number, offset, fields)
                offset += len(content)


def are_lines(path: Path) -> bool:
    """Whether the rows of a file are lines of it, which can be copied byte for byte; also of a file called .json."""
    if is_plain_lines(path):
        return True
    if path.suffix.lower() != ".json":
        return False
    with reading(path), open(path, "rb") as file:
        line = file.readline(LONGEST_LINE_BYTES).removeprefix(UTF8_BOM).strip()
    return line.startswith(b"{") and line.endswith(b"}")


def row_files(
    paths: Sequence[Path], folder: Path, *, columns: Columns | None = None, may_lack_columns: bool = False
) -> list[RowFile]:
    """Files whose copies lie in `folder`, where they are needed."""
    return [
        RowFile(
            path,
            folder / f"{os.urandom(8).hex()}.rows",
            columns=columns,
            may_lack_columns=may_lack_columns,
        )
        for path in paths
    ]
