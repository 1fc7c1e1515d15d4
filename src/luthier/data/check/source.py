"""Read the rows of a file whatever its form: JSON lines, an array, a table, UTF-8 or not; every one comes, broken ones with their fault.

Holds one row. What lies in no line of its own (an array, a table, UTF-16) is written to a spool as UTF-8 lines on the way, so
that every row can be read again by its offset.
"""

import codecs
import re
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.config.data import FileFormat
from luthier.data.check.kinds import Fault
from luthier.data.dedup.lines import read_raw_lines
from luthier.floor.errors import DataError
from luthier.floor.files import disk_faults
from luthier.text.columns import Columns
from luthier.text.json_lines import BYTE_ORDER_MARKS, HEAD_BYTES, UTF8_BOM, check_head, parse_object
from luthier.text.json_values import split_objects
from luthier.text.problems import LineFault, Problems
from luthier.text.readers.endings import format_of, is_compressed
from luthier.text.readers.formats import read_records
from luthier.text.readers.record import as_json_line
from luthier.text.row_files import reading

CHUNK_BYTES = 2**20
LINE_ENDINGS = (".jsonl", ".ndjson")
KIND_OF_CODE = {
    "data-json": "broken-json",
    "data-field": "broken-json",
    "data-trunc": "cut-off",
    "data-line": "too-long-line",
    "data-depth": "too-deep",
    "data-surr": "half-character",
    "data-enc": "encoding",
}


@dataclass(frozen=True, slots=True)
class Record:
    """One row's bytes with its line end. `line` is counted in the file, `offset` in what is read again."""

    line: int
    offset: int
    content: bytes
    fault: Fault | None = None
    """Why there is no more of it to read."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A record as JSON: its fields, if it has any, and what is wrong with it."""

    fields: dict[str, Any] | None
    faults: list[Fault]


class Source:
    """One file. Raises DataError (data-enc) at once if it is something else than its name says."""

    def __init__(
        self,
        path: Path,
        spool: Path,
        columns: Columns | None = None,
        *,
        file_format: FileFormat = "auto",
        may_lack_columns: bool = False,
    ) -> None:
        self.path = path
        self._format = format_of(path) if file_format == "auto" else file_format
        self.head_faults: list[Fault] = []
        """What is wrong with the file as a whole."""
        with reading(path), open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
        # Tables, text and packed files have readers of their own; what is JSON is read here, to see it byte for byte.
        is_json = self._format in ("jsonl", "json") and not is_compressed(path)
        self._columns = columns
        self._may_lack_columns = may_lack_columns
        self._is_foreign = columns is not None or not is_json
        self._encoding = "" if self._is_foreign else self._look(head)
        is_lines = file_format == "jsonl" or (path.suffix.lower() in LINE_ENDINGS and file_format == "auto")
        self._is_array = not (self._is_foreign or is_lines) and _is_array(
            head.removeprefix(UTF8_BOM).lstrip()
        )
        self._spool = spool
        self.readable = spool if self._is_foreign or self._is_array or self._encoding else path
        """Where the offsets of the records lie."""

    def records(self) -> Iterator[Record]:
        """Every row in order."""
        if self._is_foreign:
            yield from self._records_of_reader()
            return
        lines = self.path
        if self._encoding:
            lines = self._spool.with_suffix(".utf8") if self._is_array else self._spool
            self._transcode(lines)
        if self._is_array:
            yield from self._records_of_array(lines)
            return
        for line in read_raw_lines(lines):
            yield Record(line.number, line.offset, line.content)

    def _look(self, head: bytes) -> str:
        """The encoding, if it is UTF-16 or UTF-32; the rest is read as UTF-8, line by line."""
        if head.startswith(UTF8_BOM):
            self.head_faults.append(Fault("bom", "the file begins with a byte order mark"))
        encoding = next((name for mark, name in BYTE_ORDER_MARKS.items() if head.startswith(mark)), "")
        nuls = [at % 2 for at, byte in enumerate(head) if byte == 0]
        if not encoding and len(nuls) > len(head) // 4 and len(set(nuls)) == 1:
            encoding = "UTF-16LE" if nuls[0] else "UTF-16BE"
        if encoding:
            what = f"the file is {encoding}, not UTF-8"
            self.head_faults.append(Fault("encoding", what, f"iconv -f {encoding} -t UTF-8 {self.path}"))
            return encoding
        try:
            check_head(head, self.path)
        except LineFault as fault:
            raise DataError(fault.code, fault.what, where=str(self.path)) from fault
        return ""

    def _transcode(self, into: Path) -> None:
        decoder = codecs.getincrementaldecoder(self._encoding)(errors="replace")
        with reading(self.path), open(self.path, "rb") as file, disk_faults(into), open(into, "wb") as out:
            while chunk := file.read(CHUNK_BYTES):
                out.write(decoder.decode(chunk).encode("utf-8", "replace"))
            out.write(decoder.decode(b"", final=True).encode("utf-8", "replace"))

    def _records_of_reader(self) -> Iterator[Record]:
        """What the reader of such files finds, each record written to the spool as a line; faults as it tells them."""
        problems = _Told()
        offset = 0
        with disk_faults(self._spool), open(self._spool, "wb") as spool:
            for origin, fields in self._picked(problems):
                yield from problems.take(offset)
                content = as_json_line(fields)
                spool.write(content)
                spool.flush()
                yield Record(_line_of(origin), offset, content)
                offset += len(content)
            if not offset:
                problems.raise_if_any()  # nothing of the file can be read
            yield from problems.take(offset)

    def _picked(self, problems: "_Told") -> Iterator[tuple[str, dict[str, Any]]]:
        """What the reader finds, made of the columns where they are named and the file has them."""
        columns = self._columns
        by_position = bool(columns and columns.are_positions)
        records = read_records(self.path, problems, file_format=self._format, by_position=by_position)
        for number, (origin, fields) in enumerate(records):
            if columns and not number and self._may_lack_columns and not columns.are_in(fields):
                columns = None
            try:
                yield origin, dict(columns.pick(fields)) if columns else fields
            except LineFault as fault:
                problems.tell(origin, Fault("missing-field", fault.what))

    def _records_of_array(self, path: Path) -> Iterator[Record]:
        """The objects of an array, each written to the spool as a line; a file that breaks off ends with its fault."""
        offset = line = 0
        with closing(_chunks(path)) as chunks, disk_faults(self._spool), open(self._spool, "wb") as spool:
            pieces = split_objects(chunks, str(self.path))
            while True:
                try:
                    piece = next(pieces, None)
                except DataError as fault:
                    at = int(fault.where.rpartition(":")[2])
                    yield Record(at, offset, b"", _as_fault(LineFault(fault.code, fault.what)))
                    return
                if piece is None:
                    return
                line = piece.line
                if piece.content is None:
                    yield Record(
                        line, offset, b"", Fault("too-long-line", "the record is longer than any row")
                    )
                    continue
                # Line breaks inside a JSON text can only be white space between its values.
                content = piece.content.replace(b"\r", b" ").replace(b"\n", b" ") + b"\n"
                spool.write(content)
                spool.flush()
                yield Record(line, offset, content)
                offset += len(content)


class _Told(Problems):
    """The faults of a reader, handed on one by one."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[tuple[str, Fault]] = []

    def add(self, origin: str, fault: LineFault) -> None:
        """Keep a fault until the next record, or the end."""
        super().add(origin, fault)
        self.tell(origin, _as_fault(fault))

    def tell(self, origin: str, fault: Fault) -> None:
        """Keep what is wrong with a record that could be read."""
        self._waiting.append((origin, fault))

    def take(self, offset: int) -> Iterator[Record]:
        """The faults since the last time, as records of their own."""
        waiting, self._waiting = self._waiting, []
        return (Record(_line_of(origin), offset, b"", fault) for origin, fault in waiting)


def _line_of(origin: str) -> int:
    """The number at the end of `file:17` or `file#row 17`; 1 where there is none."""
    found = re.search(r"(?::|#row )(\d+)\Z", origin)
    return int(found[1]) if found else 1


def parse_record(record: Record, path: Path) -> Parsed:
    """The object in a record. A line that is not UTF-8 is read as Windows-1252 or Latin-1, and told."""
    if record.fault:
        return Parsed(None, [record.fault])
    is_ended = record.content.endswith(b"\n")
    bare = record.content[:-1].removesuffix(b"\r") if is_ended else record.content
    try:
        return Parsed(parse_object(bare, is_ended=is_ended, path=path), [])
    except LineFault as fault:
        told = _as_fault(fault)
    if told.kind != "encoding":
        return Parsed(None, [told])
    try:
        return Parsed(parse_object(decode_bytes(bare).encode(), is_ended=is_ended, path=path), [told])
    except LineFault as fault:
        return Parsed(None, [told, _as_fault(fault)])


def decode_bytes(line: bytes) -> str:
    """Windows-1252 where its bytes say so, else Latin-1, which takes any byte."""
    try:
        return line.decode("cp1252")
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _as_fault(fault: LineFault) -> Fault:
    what, _, hint = fault.what.partition("; ")
    return Fault(KIND_OF_CODE.get(fault.code, "broken-json"), what, fault.fix or hint)


def _is_array(head: bytes) -> bool:
    """Whether a file is one JSON text or several over many lines, and not JSON lines."""
    first_line = head.partition(b"\n")[0].rstrip()
    return head[:1] == b"[" or (head[:1] == b"{" and not first_line.endswith(b"}"))


def _chunks(path: Path) -> Generator[bytes, None, None]:
    with reading(path), open(path, "rb") as file:
        is_first = True
        while chunk := file.read(CHUNK_BYTES):
            yield chunk.removeprefix(UTF8_BOM) if is_first else chunk
            is_first = False
