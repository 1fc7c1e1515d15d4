"""Read the lines of a file byte for byte, with the place where each starts."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from luthier.text.json_lines import LONGEST_LINE_BYTES, UTF8_BOM
from luthier.text.row_files import reading

CHUNK_BYTES = 2**20
State = tuple[int, int, int]
"""Inode, bytes, and the time of the last change."""


@dataclass(frozen=True, slots=True)
class Line:
    """One row's bytes with its line end, and where they start. `number` counts every line from 1."""

    number: int
    offset: int
    content: bytes


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


def state_of(path: Path) -> State:
    """What of a file changes when somebody writes to it."""
    with reading(path):
        found = os.stat(path)
    return found.st_ino, found.st_size, found.st_mtime_ns
