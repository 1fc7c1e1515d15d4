"""Cut a stream of JSON into its objects, one at a time: JSON lines, objects one after the other, or one array of them.

Works on chunks of bytes and holds one object, however large the file is. An object beyond LONGEST_RECORD_BYTES is skipped,
not kept. Depth is judged before the JSON parser sees anything, since a parser that recurses can be crashed by nesting.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.floor.errors import DataError
from luthier.floor.units import format_bytes
from luthier.text.json_lines import DEEPEST_NESTING, LONGEST_LINE_BYTES, check_depth, parse_object
from luthier.text.problems import LineFault

CHUNK_BYTES = 2**20
# A conversation of 10,000 turns takes some 15 MB in an export; the objects that Python makes of it take several times that.
LONGEST_RECORD_BYTES = 32 * 2**20
MOST_BRACKETS = 2_000_000
SPACE = b" \t\r\n"
NOT_SPACE = re.compile(rb"[^ \t\r\n]")
MOST_BYTES_A_FILL = 8 * 2**20
# Up to the next bracket, strings skipped whole; group 1 is None where the buffer ends first or a string is not closed in it.
# Possessive, so that a chunk costs one pass and no memory.
TO_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+([\[\]{}])?', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Piece:
    """The bytes of one record and the line that it starts on; None where it is longer than any record may be."""

    line: int
    number: int
    content: bytes | None
    deepest: int | None = None
    """How deep it nests, where that was seen."""


def split_lines(chunks: Iterator[bytes]) -> Iterator[Piece]:
    """One piece a line; blank lines are passed over, lines that are too long come without their content."""
    rest, is_skipping, number, line = b"", False, 0, 0
    for chunk in chunks:
        *whole, rest_of_chunk = (rest + chunk).split(b"\n")
        for content in whole:
            line += 1
            if is_skipping or content.strip(SPACE):
                number += 1
                is_long = is_skipping or len(content) > LONGEST_LINE_BYTES
                yield Piece(line, number, None if is_long else content)
            is_skipping = False
        is_skipping = is_skipping or len(rest_of_chunk) > LONGEST_LINE_BYTES
        rest = b"" if is_skipping else rest_of_chunk
    if is_skipping or rest.strip(SPACE):
        yield Piece(line + 1, number + 1, None if is_skipping else rest)


def split_objects(chunks: Iterator[bytes], place: str) -> Iterator[Piece]:
    """One piece an object: those of the array that the stream opens with, or objects that follow each other.

    Raises DataError if the stream ends inside an object, or holds something that is no object.
    """
    return _Splitter(chunks, place).pieces()


class _Splitter:
    """Where in the stream the cutting stands: everything in `buffer` before `start` is done with."""

    def __init__(self, chunks: Iterator[bytes], place: str) -> None:
        self._chunks = chunks
        self._place = place
        self._buffer = b""
        self._start = 0
        self._line = 1
        self._number = 0

    def pieces(self) -> Iterator[Piece]:
        is_array = self._next_byte() == b"["
        if is_array:
            self._advance(1)
        while (byte := self._next_byte()) and not (byte == b"]" and is_array):
            if byte == b"," and is_array and self._number:
                self._advance(1)
            elif byte == b"{":
                self._number += 1
                yield self._take_object()
            else:
                raise self._fault(
                    "data-json", "holds something that is no object; records are objects: {...}"
                )
        if is_array and not byte:
            raise self._fault("data-trunc", "the file ends before its array does; fetch it again")
        self._advance(len(byte))
        if self._next_byte():
            raise self._fault("data-json", "more text stands behind the end of the array")

    def _take_object(self) -> Piece:
        line, depth, deepest, brackets, done, is_long = self._line, 0, 0, 0, 0, False
        while True:
            found = TO_BRACKET.match(self._buffer, self._start + done)
            assert found is not None, "the pattern matches everywhere"
            done = found.end() - self._start
            if found[1] is not None:
                brackets += 1
                depth += 1 if found[1] in b"[{" else -1
                deepest = max(deepest, depth)
                if depth:
                    continue
                is_long = is_long or done > LONGEST_RECORD_BYTES or brackets > MOST_BRACKETS
                content = None if is_long else self._buffer[self._start : found.end()]
                self._advance(done)
                return Piece(line, self._number, content, deepest)
            if is_long or len(self._buffer) - self._start > LONGEST_RECORD_BYTES or brackets > MOST_BRACKETS:
                is_long, done = True, self._forget(done)
            if not self._fill():
                what = (
                    f"the file ends inside record {self._number}, which begins on line {line}; fetch it again"
                )
                raise self._fault("data-trunc", what)

    def _forget(self, done: int) -> int:
        """Drop what was scanned; of a string that is still open stay its quotation mark and an open escape."""
        self._advance(done)
        rest = self._buffer[self._start :]
        if rest:
            self._line += rest.count(b"\n")
            slashes = len(rest) - len(rest.rstrip(b"\\"))
            self._buffer, self._start = (b'"\\' if slashes % 2 else b'"'), 0
        return 0

    def _fill(self) -> bool:
        """Read on, more at a time the longer the object is, so that an open string is not scanned over and over."""
        parts = [self._buffer[self._start :]]
        wanted = min(max(len(parts[0]), 1), MOST_BYTES_A_FILL)
        while wanted > 0 and (chunk := next(self._chunks, b"")):
            parts.append(chunk)
            wanted -= len(chunk)
        self._buffer, self._start = b"".join(parts), 0
        return len(parts) > 1

    def _next_byte(self) -> bytes:
        """The next byte that is no white space; nothing at the end."""
        while True:
            found = NOT_SPACE.search(self._buffer, self._start)
            self._advance((found.start() if found else len(self._buffer)) - self._start)
            if found or not self._fill():
                return self._buffer[self._start : self._start + 1]

    def _advance(self, count: int) -> None:
        end = self._start + count
        self._line += self._buffer.count(b"\n", self._start, end)
        self._start = end

    def _fault(self, code: str, what: str) -> DataError:
        return DataError(code, what, where=f"{self._place}:{self._line}")


def parse_record(piece: Piece, path: Path) -> dict[str, Any]:
    """The object in a piece. Halves of surrogate pairs are let pass here: whoever writes the row mends them.

    Raises LineFault.
    """
    if piece.content is None:
        bound = LONGEST_LINE_BYTES if piece.deepest is None else LONGEST_RECORD_BYTES
        raise LineFault(
            "data-line", f"the record is longer than {format_bytes(bound)}, or made of too many parts"
        )
    if piece.deepest is None:
        check_depth(piece.content)
    elif piece.deepest > DEEPEST_NESTING:
        raise LineFault("data-depth", f"nested deeper than {DEEPEST_NESTING} levels")
    try:
        value = _DECODER.decode(piece.content.decode("utf-8"))
    except (ValueError, RecursionError) as fault:
        raise _explain(piece.content, path, fault) from fault
    if not isinstance(value, dict):
        raise LineFault("data-json", "the record is no object: {...}")
    return value


def _explain(content: bytes, path: Path, fault: Exception) -> LineFault:
    """The fault in the words of the reader of JSON lines, or in the parser's own where a record is too long for it."""
    if len(content) <= LONGEST_LINE_BYTES:
        try:
            parse_object(content, is_ended=True, path=path)
        except LineFault as named:
            return named
    return LineFault("data-json", f"not JSON: {fault}"[:200])


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a key occurs twice in one object")
    return fields


_DECODER = json.JSONDecoder(object_pairs_hook=_refuse_duplicates)
