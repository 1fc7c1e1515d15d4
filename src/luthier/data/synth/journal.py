"""Every answer as it came, appended and synced before it counts: killed at any moment, nothing that was paid for is lost.

One JSON object a line. The first says what was asked for, so that answers of another template or model are never mixed in. A last
line without an end was being written when the process died: it is cut off and asked again.
"""

import fcntl
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from luthier.data.synth.endpoint import MOST_ANSWER_BYTES
from luthier.data.synth.judge import WORTH_ASKING_AGAIN, Judge
from luthier.floor.errors import DataError, UsageError
from luthier.floor.files import disk_faults, sync_folder
from luthier.floor.units import format_bytes

VERSION = 1
# An answer's text as JSON may take six bytes a character.
MOST_LINE_BYTES = 6 * MOST_ANSWER_BYTES + 2**16


@dataclass
class Asked:
    """What the journal knows of one asking: where its last answer lies, how many there are, and whether it is settled."""

    offset: int = -1
    attempts: int = 0
    is_settled: bool = False


@dataclass(frozen=True)
class Spent:
    """Tokens so far, those of earlier sessions too."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    answers_without_usage: int = 0
    """Answers whose tokens were guessed, since the endpoint did not count them."""

    @property
    def total(self) -> int:
        """What a budget is held against."""
        return self.prompt_tokens + self.completion_tokens

    def plus(self, usage: dict[str, Any]) -> "Spent":
        """With one more answer."""
        return Spent(
            self.prompt_tokens + usage["prompt_tokens"],
            self.completion_tokens + usage["completion_tokens"],
            self.answers_without_usage + bool(usage.get("is_guess")),
        )


@dataclass
class Journal:
    """The open file and its index: some hundred bytes an asking, never a text."""

    path: Path
    judge: Judge
    attempts: int
    asked: dict[str, Asked] = field(default_factory=dict)
    spent: Spent = field(default_factory=Spent)
    answers: int = 0
    _file: BinaryIO | None = None

    def open(self, header: dict[str, Any], *, anew: bool = False) -> Self:
        """Read what is there and go on, or begin `anew`; one process at a time holds the file.

        Raises UsageError if it is of another asking or in use (run-locked), DataError for a damaged line.
        """
        with disk_faults(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "a+b")  # noqa: SIM115  # closed in __exit__
            self._lock(self._file)
            if anew:
                self._file.truncate(0)
            end = self._read(self._file, header)
            self._file.truncate(end)
            if not end:
                self._append({"luthier_synth": VERSION, **header})
                sync_folder(self.path.parent)
        return self

    def peek(self, header: dict[str, Any]) -> None:
        """Learn what is there and leave it as it is; raises as `open` does."""
        with disk_faults(self.path), open(self.path, "rb") as file:
            self._read(file, header)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file:
            self._file.close()

    def add(self, record: dict[str, Any]) -> Asked:
        """Keep one answer; it is on the disk when this returns."""
        with disk_faults(self.path):
            offset = self._append(record)
        return self._enter(record, offset)

    def wants(self, key: str) -> bool:
        """Whether an asking needs another answer."""
        found = self.asked.get(key)
        return found is None or not found.is_settled

    def read(self, key: str) -> dict[str, Any] | None:
        """The last answer of an asking, from the file; None if there is none."""
        found = self.asked.get(key)
        if found is None:
            return None
        assert self._file
        self._file.seek(found.offset)
        record: dict[str, Any] = json.loads(self._file.readline())
        return record

    def _lock(self, file: BinaryIO) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as fault:
            file.close()
            raise UsageError(
                "run-locked",
                "another process asks for the same rows",
                where=str(self.path),
                fix="Wait for it, or name another file by --out.",
            ) from fault

    def _append(self, record: dict[str, Any]) -> int:
        assert self._file
        offset = self._file.seek(0, os.SEEK_END)
        self._file.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        return offset

    def _enter(self, record: dict[str, Any], offset: int) -> Asked:
        found = self.asked.setdefault(record["key"], Asked())
        found.offset = offset
        found.attempts += 1
        ruling = self.judge.rule(record)
        found.is_settled = ruling.reason not in WORTH_ASKING_AGAIN or found.attempts >= self.attempts
        self.spent = self.spent.plus(record["usage"])
        self.answers += 1
        return found

    def _read(self, file: BinaryIO, header: dict[str, Any]) -> int:
        """The offset after the last whole line."""
        offset = file.seek(0)
        for number, line in enumerate(iter(lambda: file.readline(MOST_LINE_BYTES), b""), start=1):
            if not line.endswith(b"\n"):
                if len(line) == MOST_LINE_BYTES:
                    raise self._damaged(number, f"the line is longer than {format_bytes(MOST_LINE_BYTES)}")
                break
            try:
                record = json.loads(line)
                if number == 1:
                    self._check_header(record, header)
                else:
                    self._enter(record, offset)
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as fault:
                raise self._damaged(number, f"not an answer that was kept here ({fault})") from fault
            offset += len(line)
        return offset

    def _check_header(self, found: dict[str, Any], header: dict[str, Any]) -> None:
        if found.pop("luthier_synth") != VERSION:
            raise ValueError("another version")
        others = [name for name in header if found.get(name) != header[name]]
        if others:
            name = others[0]
            raise UsageError(
                "usage",
                f"{self.path} holds answers to another {name}: {_short(found.get(name))}, not {_short(header[name])}",
                where=str(self.path),
                why="Answers of two askings are not mixed into one file.",
                fix="Name another file by --out, or begin anew with --overwrite, which throws those answers away.",
            )

    def _damaged(self, line: int, what: str) -> DataError:
        return DataError(
            "data-json",
            f"the journal is damaged: {what}",
            where=f"{self.path}:{line}",
            fix="Take the line out, and it is asked again; or begin anew with --overwrite.",
        )


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
    return text if len(text) <= 80 else f"{text[:80]}..."
