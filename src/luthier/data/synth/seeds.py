"""Seeds: what a prompt template is filled with, from JSON lines, a table, or plain lines.

A seed is known by a hash of its fields, not by its line: a file that grows, or is sorted anew, asks nothing twice.
"""

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.data.synth.places import one_file
from luthier.floor.errors import DataError
from luthier.text.json_lines import HEAD_BYTES, LONGEST_LINE_BYTES, check_head, parse_object, read_lines
from luthier.text.problems import LineFault

LINE_FIELD = "seed"
ID_CHARACTERS = 16  # 64 bits
TABLES = {".csv": ",", ".tsv": "\t"}
OBJECTS = (".jsonl", ".ndjson")


@dataclass(frozen=True, slots=True)
class Seed:
    """The fields of one seed, and where it stands."""

    origin: str
    fields: dict[str, Any]
    name: str
    """A hash of the fields."""


@dataclass(frozen=True, slots=True)
class Asking:
    """One answer wanted: a seed, and how many times it was asked for before."""

    seed: Seed
    sample: int

    @property
    def key(self) -> str:
        """What the journal knows it by."""
        return f"{self.seed.name}#{self.sample}"


def read_askings(path: Path, *, rows: int | None) -> Iterator[Asking]:
    """The seeds in order, each once; with `rows`, so many, from the first again where the file ends.

    Raises DataError with file:line for a seed that cannot be read, data-empty if there is none.
    """
    asked: Counter[str] = Counter()
    left = rows
    while left is None or left > 0:
        before = left
        for seed in read_seeds(path):
            if left is not None and left <= 0:
                return
            yield Asking(seed, asked[seed.name])
            asked[seed.name] += 1
            left = None if left is None else left - 1
        if left is None:
            return
        assert left != before, "a file of seeds holds one at least"


def read_seeds(path: Path) -> Iterator[Seed]:
    """Each seed of a file, one in memory at a time; raises as read_askings does."""
    count = 0
    for number, fields in _fields(one_file(path, "--seeds")):
        count += 1
        yield Seed(f"{path}:{number}", fields, name_of(fields))
    if not count:
        raise DataError(
            "data-empty", f"there is no seed in {path}", where=str(path), fix="Give one seed a line."
        )


def name_of(fields: dict[str, Any]) -> str:
    """Equal for seeds with equal fields, in whatever order."""
    text = json.dumps(fields, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:ID_CHARACTERS]


def _fields(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    ending = path.suffix.lower()
    reader = _objects if ending in OBJECTS else _table if ending in TABLES else _plain_lines
    try:
        with open(path, "rb") as file:
            check_head(file.read(HEAD_BYTES), path)
        yield from reader(path)
    except _SeedFault as fault:
        cause = fault.cause
        raise DataError(cause.code, cause.what, where=f"{path}:{fault.line}", fix=cause.fix) from fault
    except LineFault as fault:
        raise DataError(fault.code, fault.what, where=f"{path}:1", fix=fault.fix) from fault


class _SeedFault(Exception):
    """A line's fault with its line."""

    def __init__(self, line: int, cause: LineFault) -> None:
        super().__init__(cause.what)
        self.line, self.cause = line, cause


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line, is_ended in read_lines(path):
        try:
            yield number, parse_object(line, is_ended=is_ended, path=path)
        except LineFault as fault:
            raise _SeedFault(number, fault) from fault


def _plain_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line, _ in read_lines(path):
        yield number, {LINE_FIELD: _text(line, number).strip()}


def _table(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a table with a head; a cell may hold line ends."""

    ended_at = 0

    def lines() -> Iterator[str]:
        nonlocal ended_at
        with open(path, "rb") as file:
            while line := file.readline(LONGEST_LINE_BYTES + 1):
                ended_at += 1
                if len(line) > LONGEST_LINE_BYTES:
                    raise _SeedFault(ended_at, LineFault("data-line", "the line is longer than 10 MiB"))
                yield _text(line.removeprefix(b"\xef\xbb\xbf") if ended_at == 1 else line, ended_at)

    reader = csv.reader(lines(), delimiter=TABLES[path.suffix.lower()], strict=True)
    try:
        head = next(reader, [])
        if len(set(head)) != len(head) or not all(name.strip() for name in head):
            what = f"the head of the table names a column twice or not at all: {', '.join(head)}"
            raise _SeedFault(1, LineFault("data-field", what))
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(head):
                what = f"{len(cells)} cells under {len(head)} columns"
                raise _SeedFault(ended_at, LineFault("data-field", what, fix="Quote cells that hold commas."))
            yield ended_at, dict(zip((name.strip() for name in head), cells, strict=True))
    except csv.Error as fault:
        raise _SeedFault(ended_at, LineFault("data-field", f"not a table: {fault}")) from fault


def _text(line: bytes, number: int) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as fault:
        what = f"byte {fault.start + 1} is 0x{line[fault.start]:02X}: not UTF-8"
        raise _SeedFault(number, LineFault("data-enc", what)) from fault
