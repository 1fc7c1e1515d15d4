"""What cleaning leaves behind beside its counts: every row it left out, and samples of its edits.

<store>/cleaning/dropped.jsonl   origin, filter, reason, detail; one line a row
<store>/cleaning/edits.jsonl     samples of edits: filter, origin, field, before, after
<store>/cleaning/edits.diff      the same samples, to be read
"""

import json
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Self

from luthier.data.clean.filter import Dropped
from luthier.data.clean.samples import Samples, diff_of
from luthier.floor.files import disk_faults
from luthier.text.rows import Row

FOLDER = "cleaning"
DROPPED = "dropped.jsonl"
EDITS = "edits.jsonl"
DIFF = "edits.diff"


class Ledger:
    """The folder, open for writing; the samples are written when it is closed without a fault."""

    def __init__(self, folder: Path, samples: Samples) -> None:
        self.samples = samples
        self._folder = folder / FOLDER
        self._stack = ExitStack()
        self._dropped: IO[str] | None = None

    def __enter__(self) -> Self:
        with disk_faults(self._folder / DROPPED):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._dropped = self._stack.enter_context(open(self._folder / DROPPED, "w", encoding="utf-8"))
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        with disk_faults(self._folder / DROPPED):
            self._stack.close()
        if kind is None:
            self._write_samples()

    def drop(self, row: Row, name: str, dropped: Dropped) -> None:
        """Write down a row that the filter `name` leaves out."""
        assert self._dropped is not None, "the ledger is open"
        with disk_faults(self._folder / DROPPED):
            entry = {
                "origin": row.origin,
                "filter": name,
                "reason": dropped.reason,
                "detail": dropped.detail,
            }
            self._dropped.write(_line(entry))

    def _write_samples(self) -> None:
        samples = self.samples.in_order()
        with disk_faults(self._folder / EDITS):
            lines = "".join(_line(asdict(sample)) for sample in samples)
            (self._folder / EDITS).write_text(lines, encoding="utf-8")
            diffs = "".join(diff_of(sample) + "\n\n" for sample in samples)
            (self._folder / DIFF).write_text(diffs, encoding="utf-8")


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=False) + "\n"
