"""Append to the audit log: one write a record, so that a kill loses no record and at most cuts the last.

What reaches the file is safe from the end of the process; `sync` brings it to the disk, safe from the end of the machine, and then puts
the anchor beside it. A cut last line is left as it is: the chain goes on behind it with a record `cut` that says how many bytes
belong to nothing, and what their hash is.
"""

import fcntl
import hashlib
import json
import os
import stat
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from luthier.floor.errors import EnvironmentFault
from luthier.floor.files import disk_faults, write_text
from luthier.serve.audit.record import CUT, LONGEST_LINE, Anchor, anchor_of, make_line, read_line

MODE = 0o600
FIX = "Type: luthier audit verify FILE; to begin a new log, move this one away, with its anchor."


def anchor_path(path: Path) -> Path:
    """Where the log's anchor lies."""
    return path.with_name(path.name + ".anchor")


class AuditLog:
    """An audit log that this process alone appends to.

    Raises EnvironmentFault (env-audit) if another process has it, if it does not end in a record, or if it is shorter than its anchor says;
    (env-disk, env-permission) if it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._is_dirty = False
        with disk_faults(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            self._file = os.open(path, flags, MODE)
        try:
            if not stat.S_ISREG(os.fstat(self._file).st_mode):
                raise self._fault("is no regular file")
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as fault:
                raise self._fault("is written by another server") from fault
            self.anchor, self._end = self._find_end()
            self._check_anchor()
            self._note_what_was_cut()
        except (EnvironmentFault, OSError):
            os.close(self._file)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, event: str, facts: Mapping[str, Any]) -> Anchor:
        """Add a record. Raises EnvironmentFault if the disk refuses; the chain goes on once it does not."""
        with self._lock:
            self._note_what_was_cut()
            self._write(event, facts)
            return self.anchor

    def sync(self) -> None:
        """Bring everything to the disk, then the anchor. Raises EnvironmentFault."""
        with self._lock:
            if not self._is_dirty:
                return
            anchor, self._is_dirty = self.anchor, False
        with disk_faults(self.path):
            os.fsync(self._file)
        text = json.dumps({"records": anchor.records, "hash": anchor.hash})
        write_text(anchor_path(self.path), text + "\n", mode=MODE)

    def close(self) -> None:
        """Sync, and let another process have the log."""
        if self._file < 0:
            return
        try:
            self.sync()
        finally:
            os.close(self._file)
            self._file = -1

    def _write(self, event: str, facts: Mapping[str, Any]) -> None:
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        line, anchor = make_line(self.anchor, time=time, event=event, facts=facts)
        assert len(line) <= LONGEST_LINE, f"a record of {len(line):,} bytes is none that verify would read"
        self._is_dirty = True
        with disk_faults(self.path):
            written = os.write(self._file, line)
            while written < len(
                line
            ):  # a disk that is nearly full takes a part, and says why at the next call
                written += os.write(self._file, line[written:])
        self.anchor, self._end = anchor, self._end + len(line)

    def _note_what_was_cut(self) -> None:
        """If anything stands behind the last whole record, end its line and say that it belongs to nothing."""
        size = os.fstat(self._file).st_size
        if size <= self._end:
            return
        cut = os.pread(self._file, size - self._end, self._end)
        with disk_faults(self.path):
            if not cut.endswith(b"\n"):
                os.write(self._file, b"\n")
        size, self._is_dirty = os.fstat(self._file).st_size, True
        record = read_line(cut + b"\n")
        if record and (record["seq"], record["previous"]) == (self.anchor.records + 1, self.anchor.hash):
            self.anchor, self._end = anchor_of(record), size  # only its newline was missing
            return
        end, self._end = self._end, size
        facts = {"cut_bytes": len(cut), "cut_sha256": hashlib.sha256(cut).hexdigest()}
        try:
            self._write(CUT, facts)
        except EnvironmentFault:
            self._end = end
            raise

    def _find_end(self) -> tuple[Anchor, int]:
        """The last whole record and where its line ends, read from the end of the file."""
        size = os.fstat(self._file).st_size
        if not size:
            return Anchor(), 0
        reach = min(size, 2**16)
        while True:
            tail = os.pread(self._file, reach, size - reach)
            end = len(tail)
            while (end := tail.rfind(b"\n", 0, end) + 1) > 0:
                start = tail.rfind(b"\n", 0, end - 1) + 1
                if start == 0 and reach < size:
                    break  # the line may begin further up
                record = read_line(tail[start:end])
                if record is not None:
                    return anchor_of(record), size - reach + end
                end = start
            if reach == size <= LONGEST_LINE and tail.startswith(b'{"seq":1,'[:size]):
                return Anchor(), 0  # the very first record was cut
            if reach >= min(size, 2 * LONGEST_LINE):
                raise self._fault("does not end in a record")
            reach = min(size, reach * 4)

    def _check_anchor(self) -> None:
        try:
            said = json.loads(anchor_path(self.path).read_text(encoding="utf-8"))
            anchor = Anchor.parse(f"{said['records']}:{said['hash']}")
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError, OSError) as fault:
            raise self._fault(f"has an anchor that cannot be read, {anchor_path(self.path).name}") from fault
        is_other = anchor.records == self.anchor.records and anchor.hash != self.anchor.hash
        if anchor.records > self.anchor.records or is_other:
            what = f"ends at record {self.anchor.records:,}; its anchor names record {anchor.records:,}"
            raise self._fault(f"{what}: its end was cut off or changed")

    def _fault(self, what: str) -> EnvironmentFault:
        return EnvironmentFault("env-audit", f"the audit log {what}", where=str(self.path), fix=FIX)
