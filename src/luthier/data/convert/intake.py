"""Read the records of all parts one at a time, and find out which dialect they are in before any is converted."""

import itertools
import time
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from luthier.data.convert.dialects import Dialect, fits_none, named, recognise
from luthier.data.convert.inputs import Inputs, Part
from luthier.floor.errors import DataError
from luthier.floor.log import Listener
from luthier.text.columns import Columns
from luthier.text.json_lines import HEAD_BYTES, UTF8_BOM, check_head
from luthier.text.json_values import Piece, parse_record, split_lines, split_objects
from luthier.text.problems import LineFault, Problems
from luthier.text.readers.endings import format_of, is_compressed
from luthier.text.readers.formats import read_records

Event = tuple[str, dict[str, Any] | LineFault]
"""Where a record stands, and the record or what is wrong with it."""

RECORDS_LOOKED_AT = 20
FAULTS_IN_FULL = 100
MOST_NAMES = 40
LINE_ENDINGS = (".jsonl", ".ndjson")
SILENT_S = 2.0


def read_events(inputs: Inputs, listener: Listener, *, by_position: bool = False) -> Iterator[Event]:
    """Every record of every part. Raises DataError where the rest of a part cannot be told apart any more.

    `by_position` tells that tables have no header.
    """
    progress = _Progress(sum(part.length_bytes for part in inputs.parts), listener)
    for part in inputs.parts:
        if _has_reader(part):
            yield from _read(part, progress, by_position=by_position)
            continue
        pieces, is_by_line = _cut(part, progress)
        for piece in pieces:
            place = f"{part.place}:{piece.line}"
            origin = place if is_by_line else f"{place} (record {piece.number})"
            try:
                record = parse_record(piece, Path(part.place))
            except LineFault as fault:
                yield origin, fault
                continue
            # Rarely an export is one object around the list.
            inner = record.get("conversations") if not is_by_line else None
            if isinstance(inner, list) and inner and isinstance(inner[0], dict) and "mapping" in inner[0]:
                yield from ((origin, each) for each in inner if isinstance(each, dict))
                continue
            yield origin, record
    progress.end()


def pick_columns(events: Iterator[Event], columns: Columns, left_out: Counter[str]) -> Iterator[Event]:
    """The records with the fields that the columns make and no others, whose rows are counted in `left_out` by name."""
    for origin, found in events:
        if isinstance(found, LineFault):
            yield origin, found
            continue
        try:
            picked = columns.pick(found)
        except LineFault as fault:
            yield origin, fault
            continue
        for name in found.keys() - columns.used:
            if name in left_out or len(left_out) < MOST_NAMES:
                left_out[name] += 1
        yield origin, picked


def _has_reader(part: Part) -> bool:
    """Whether the part is a table, a shard or packed, which training reads as it is, and not JSON, which exports are."""
    return is_compressed(part.path) or format_of(part.path) not in ("json", "jsonl")


def _read(part: Part, progress: "_Progress", *, by_position: bool) -> Iterator[Event]:
    """The records of such a part, and its faults in their places."""
    faults = _Faults()
    for number, (origin, fields) in enumerate(
        read_records(part.path, faults, by_position=by_position), start=1
    ):
        yield from faults.take()
        yield origin, fields
        progress.tell(f"{number:,} rows")
    yield from faults.take()
    progress.add(part.length_bytes)


class _Faults(Problems):
    """Faults that wait for the next record to be told; of a long run of them, which may be a file, only the number is kept."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: deque[tuple[str, LineFault]] = deque()
        self._more: Counter[str] = Counter()
        self._last: dict[str, tuple[str, LineFault]] = {}

    def add(self, origin: str, fault: LineFault) -> None:
        """Keep the fault of the row that stands at `origin` until it is taken."""
        self.count += 1
        if len(self._waiting) < FAULTS_IN_FULL:
            self._waiting.append((origin, fault))
            return
        self._more[fault.code] += 1
        self._last[fault.code] = (origin, fault)

    def take(self) -> Iterator[Event]:
        """Every fault since the last time."""
        while self._waiting:
            yield self._waiting.popleft()
        for code, count in self._more.items():
            yield from itertools.repeat(self._last[code], count)
        self._more.clear()
        self._last.clear()


def find_dialect(
    events: Iterator[Event], wanted: str | None, source: Path
) -> tuple[Dialect, Iterator[Event]]:
    """The dialect of the first record that is in one, or the one that is wanted; and all events, the looked-at ones again.

    Raises DataError (data-dialect) if none of the first records is in any, and for what is wrong with all of them.
    """
    head = list(itertools.islice(events, RECORDS_LOOKED_AT))
    every = itertools.chain(head, events)
    if not head:
        raise DataError("data-empty", f"there is no record in {source}", where=str(source))
    if wanted is not None:
        return named(wanted), every
    for _, found in head:
        dialect = None if isinstance(found, LineFault) else recognise(found)
        if dialect is not None:
            return dialect, every
    problems = Problems()
    for origin, found in head:
        problems.add(origin, found if isinstance(found, LineFault) else fits_none(found))
    problems.raise_if_any()
    raise AssertionError("every record that was looked at has a fault")


def _cut(part: Part, progress: "_Progress") -> tuple[Iterator[Piece], bool]:
    """The pieces of a part, and whether each is a line. JSON lines are told from an array by their first bytes."""
    chunks = progress.watched(part.chunks())
    first = next(chunks, b"").removeprefix(UTF8_BOM)
    try:
        check_head(first[:HEAD_BYTES], Path(part.place))
    except LineFault as fault:
        fix = f"Unpack the archive first: unzip {part.path}" if part.is_packed else ""
        raise DataError(fault.code, fault.what, where=part.place, fix=fix) from fault
    every = itertools.chain([first], chunks)
    bare = first.lstrip()
    line, _, _ = bare.partition(b"\n")
    is_by_line = part.place.lower().endswith(LINE_ENDINGS) or line.rstrip().endswith(b"}")
    if bare and bare[:1] not in (b"{", b"["):
        what = "is neither JSON nor JSON lines: it begins with " + repr(bare[:20].decode("utf-8", "replace"))
        fix = "Name an export or rows: a JSON file, JSON lines, a folder of them, or a zip archive."
        raise DataError("data-json", f"the file {what}", where=f"{part.place}:1", fix=fix)
    if is_by_line and bare[:1] == b"{" and not _is_wrapper(line):
        return split_lines(every), True
    return split_objects(every, part.place), False


def _is_wrapper(line: bytes) -> bool:
    """Whether a line begins like an export that is one object around its list."""
    return b"".join(line[:200].split()).startswith(b'{"conversations":[{"') and b'"mapping"' in line[:4096]


class _Progress:
    """Tells how many bytes are read, once the work takes longer than people wait without a word."""

    def __init__(self, total_bytes: int, listener: Listener) -> None:
        self._total = total_bytes
        self._listener = listener
        self._done = 0
        self._speaks_at = time.monotonic() + SILENT_S

    def watched(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            yield chunk
            self.add(len(chunk))

    def add(self, done_bytes: int) -> None:
        """So much more is read."""
        self._done += done_bytes
        self.tell("bytes")

    def tell(self, detail: str) -> None:
        """A word about how far it is, if it is time for one."""
        if time.monotonic() >= self._speaks_at and self._done < self._total:
            self._listener.progress("convert", self._done, self._total, detail)

    def end(self) -> None:
        if time.monotonic() >= self._speaks_at:
            self._listener.progress("convert", self._total, self._total, "bytes")
