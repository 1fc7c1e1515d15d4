"""Rows as JSON: one object a line, or one array of objects, which is streamed like lines are."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from luthier.floor.errors import DataError
from luthier.floor.units import format_bytes
from luthier.text.json_lines import (
    HEAD_BYTES,
    LONGEST_LINE_BYTES,
    UTF8_BOM,
    check_head,
    lines_of,
    parse_object,
)
from luthier.text.json_values import SPACE, Piece, split_objects
from luthier.text.problems import LineFault, Problems
from luthier.text.readers.compressed import CHUNK_BYTES, Stream, open_stream
from luthier.text.readers.record import Fields, Record, row_origin


def read_json_lines(path: Path, problems: Problems) -> Iterator[Record]:
    """One record a line that is not blank; a file whose first bytes are no UTF-8 text is one fault and no record."""
    number = 0
    try:
        with open_stream(path) as file:
            is_first = True
            for number, line, is_ended in lines_of(file):
                if is_first:
                    is_first = False
                    if (fault := _fault_of_head(line[:HEAD_BYTES], path)) is not None:
                        return problems.add(str(path), fault)
                origin = f"{path}:{number}"
                try:
                    fields = parse_object(line, is_ended=is_ended, path=path)
                except LineFault as fault:
                    problems.add(origin, fault)
                    continue
                yield origin, fields
    except LineFault as fault:  # what was packed is damaged
        problems.add(f"{path}:{number + 1}", fault)


def _fault_of_head(head: bytes, path: Path) -> LineFault | None:
    try:
        check_head(head, path)
    except LineFault as fault:
        return fault
    return None


def read_json_values(path: Path, problems: Problems) -> Iterator[Record]:
    """The objects of an array, one at a time, however large it is; or objects spread over lines, or one a line."""
    try:
        with open_stream(path) as file:
            head = file.peek(HEAD_BYTES)[:HEAD_BYTES]
            check_head(head, path)
            if _is_spread(head.removeprefix(UTF8_BOM).lstrip(SPACE)):
                return (yield from _read_objects(path, file, problems))
    except LineFault as fault:
        return problems.add(str(path), fault)
    return (yield from read_json_lines(path, problems))


def _is_spread(head: bytes) -> bool:
    """Whether what a file begins with is an array, or an object that its first line does not hold whole."""
    first, line_end, _ = head.partition(b"\n")
    return head.startswith(b"[") or bool(
        head.startswith(b"{") and line_end and not first.rstrip().endswith(b"}")
    )


def _read_objects(path: Path, file: Stream, problems: Problems) -> Iterator[Record]:
    if file.peek(3).startswith(UTF8_BOM):
        file.read(len(UTF8_BOM))
    piece = None
    try:
        for piece in split_objects(iter(partial(file.read, CHUNK_BYTES), b""), str(path)):
            origin = row_origin(path, piece.number)
            try:
                fields = _parse(piece, path)
            except LineFault as fault:
                problems.add(
                    origin, LineFault(fault.code, f"{fault.what} (the record begins on line {piece.line})")
                )
                continue
            yield origin, fields
    except DataError as fault:  # the cutting itself; there is no telling where the next object would begin
        problems.add(fault.where, LineFault(fault.code, fault.what))


def _parse(piece: Piece, path: Path) -> Fields:
    if piece.content is None or len(piece.content) > LONGEST_LINE_BYTES:
        raise LineFault("data-line", f"the record is longer than {format_bytes(LONGEST_LINE_BYTES)}")
    return parse_object(piece.content, is_ended=True, path=path)
