"""Hold an audit log against its own chain and against anchors: the first line that does not follow is named."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from luthier.floor.errors import DataError
from luthier.floor.log import Listener
from luthier.reports.audit import AuditReport
from luthier.serve.audit.log import anchor_path
from luthier.serve.audit.record import CUT, LONGEST_LINE, Anchor, anchor_of, read_line

LINES_BETWEEN_TELLINGS = 20_000


def verify_audit(
    path: Path, *, anchors: Sequence[Anchor] = (), listener: Listener | None = None
) -> AuditReport:
    """Read the log from its first line to its last, a line at a time.

    `anchors` are further ones than that beside the log. Raises DataError if the log cannot be read.
    """
    try:
        with open(path, "rb", opener=_open_plain) as file:
            walk = _Walk([*_kept_anchor(path), *anchors])
            total = os.fstat(file.fileno()).st_size
            for number, line in enumerate(_lines(file), 1):
                walk.take(number, line)
                if walk.broken:
                    break
                if listener and number % LINES_BETWEEN_TELLINGS == 0:
                    listener.progress("records", file.tell(), total)
            walk.end()
            if listener and walk.lines > LINES_BETWEEN_TELLINGS:
                listener.progress("records", total, total)
    except OSError as fault:
        what = f"cannot read the audit log: {fault.strerror or fault}"
        raise DataError("data-missing", what, where=str(path), fix=f"See: ls -l {path}") from fault
    return walk.report(path)


class _Walk:
    """Where the chain has come to, and what was cut off since the last record."""

    def __init__(self, anchors: Sequence[Anchor]) -> None:
        self.anchors = sorted(anchors, key=lambda anchor: anchor.records)
        self.here = Anchor()
        self.events: Counter[str] = Counter()
        self.times: tuple[str | None, str | None] = (None, None)
        self.broken: tuple[int, str] | None = None
        self.lines = 0
        self._cut_line = 0
        self._forget_cut()

    def take(self, number: int, line: bytes) -> None:
        """The next line."""
        self.lines = number
        record = read_line(line)
        if record is None:
            self._cut_line = self._cut_line or number
            self._add_cut(line)
            return
        why = self._why_not_next(record)
        if why is not None:
            # Where a line before was no record either, that one is the first that is wrong.
            self.broken = (
                (self._cut_line, "is no record as the server writes it") if self._cut_line else (number, why)
            )
            return
        self._forget_cut()
        self.here = anchor_of(record)
        self.events[record["event"]] += 1
        self.times = (self.times[0] or record["time"], record["time"])
        for anchor in self.anchors:
            if anchor.records == self.here.records and anchor.hash != self.here.hash:
                self.broken = (
                    number,
                    f"is record {anchor.records:,}, and the anchor names another one there",
                )

    def end(self) -> None:
        """There is no further line."""
        if self.broken:
            return
        if self._cut_line:
            self.broken = (self._cut_line, "is no record; nothing behind it says that it was cut off")
        last = max((anchor.records for anchor in self.anchors), default=0)
        if last > self.here.records:
            why = f"the log ends at record {self.here.records:,}, and an anchor names record {last:,}: its end was cut off"
            self.broken = self.broken or (self.here.records + 1 + self.events[CUT], why)

    def report(self, path: Path) -> AuditReport:
        """What was found."""
        return AuditReport(
            file=str(path),
            records=self.here.records,
            first_time=self.times[0],
            last_time=self.times[1],
            last_hash=self.here.hash,
            events=dict(sorted(self.events.items())),
            cuts=self.events[CUT],
            anchors=[str(anchor) for anchor in self.anchors],
            broken_line=self.broken[0] if self.broken else None,
            broken_why=self.broken[1] if self.broken else None,
        )

    def _why_not_next(self, record: dict[str, Any]) -> str | None:
        if record["previous"] != self.here.hash:
            return f"does not follow from the record before it (it says that it is record {record['seq']:,})"
        if record["seq"] != self.here.records + 1:
            return f"says that it is record {record['seq']:,}, and record {self.here.records + 1:,} is due"
        is_note = record["event"] == CUT
        if is_note != bool(self._cut_line):
            return "tells of a cut line that is not there" if is_note else "follows a line that is no record"
        if is_note and (record.get("cut_bytes"), record.get("cut_sha256")) not in self._cut_facts():
            return "tells of another cut line than the one before it"
        return None

    def _forget_cut(self) -> None:
        self._cut_line, self._cut_bytes = 0, 0
        self._cut_hash = hashlib.sha256()
        self._cut_hash_before_newline = self._cut_hash

    def _add_cut(self, line: bytes) -> None:
        bare = line.removesuffix(b"\n")
        self._cut_hash.update(bare)
        self._cut_hash_before_newline = self._cut_hash.copy()
        self._cut_hash.update(line[len(bare) :])
        self._cut_bytes += len(line)

    def _cut_facts(self) -> tuple[tuple[int, str], ...]:
        """The server ends a cut line by a newline of its own, unless the cut one had it."""
        return (
            (self._cut_bytes, self._cut_hash.hexdigest()),
            (self._cut_bytes - 1, self._cut_hash_before_newline.hexdigest()),
        )


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines with their ends; one that is longer than any record comes in pieces, none of which is a record."""
    return iter(lambda: file.readline(LONGEST_LINE), b"")


def _open_plain(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _kept_anchor(path: Path) -> list[Anchor]:
    """The anchor beside the log; one that is damaged is one that nobody can trust, and so is the log."""
    kept = anchor_path(path)
    try:
        said = json.loads(kept.read_text(encoding="utf-8"))
        return [Anchor.parse(f"{said['records']}:{said['hash']}")]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as fault:
        what = f"the anchor of the audit log cannot be read: {kept.name}"
        fix = "Put it back from a copy, or name an anchor that the server printed: --anchor RECORDS:HASH"
        raise DataError("data-json", what, where=str(kept), fix=fix) from fault
