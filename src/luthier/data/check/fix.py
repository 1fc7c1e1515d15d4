"""Write repaired copies of files and a ledger of every edit and every row left out; the files themselves are never written to.

Two passes: rows are repaired into a staging folder, their keys are compared, then all but the repeats are copied. The folder gets
its name last, so that it is either whole or not there.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from pydantic import ValidationError

from luthier.data.check.index import Index, IndexWriter, split_of
from luthier.data.check.repair import Edit, Repaired, repair_row
from luthier.data.check.source import Record, Source, decode_bytes, parse_record
from luthier.data.dedup.columns import Array, Columns
from luthier.data.dedup.exact import drop_exact
from luthier.data.dedup.lines import read_raw_lines
from luthier.data.dedup.verdict import EXACT, Verdict
from luthier.floor.errors import UsageError
from luthier.floor.files import TEMPORARY_PREFIX, disk_faults, publish_folder
from luthier.floor.log import Listener
from luthier.floor.stop import StopFlag
from luthier.reports.check import RepairBooks

LEDGER, REPORT = "ledger.jsonl", "report.json"
COLUMN_BYTES = 2**29
BUDGET_BYTES = 2**29
INTERRUPTED = "the repair was interrupted; nothing was written"
ROWS_BETWEEN_LOOKS = 500


def check_out(out: Path, files: Sequence[Path], *, overwrite: bool) -> None:
    """Raise UsageError if the folder holds anything, or is one that a file to repair lies in.

    With `overwrite` it may hold an earlier repair, told by its report, and nothing else.
    """
    if out.is_symlink() or (out.exists() and not (out.is_dir() and not any(out.iterdir()))):
        if not _is_repair(out):
            what, fix = (
                f"{out} is there already, and is no earlier repair",
                "Name a folder that is not there yet.",
            )
            raise UsageError("usage", what, where="--out", fix=fix)
        if not overwrite:
            fix = "Name another folder by --out, or replace this one with --overwrite."
            raise UsageError("usage", f"{out} is there already", where="--out", fix=fix)
    if any(out.resolve() in file.resolve().parents for file in files):
        raise UsageError("usage", f"{out} holds a file to repair", where="--out", fix="Name another folder.")


def _is_repair(out: Path) -> bool:
    """Whether all that the folder holds was written by a repair: replacing it takes nothing of the user's away."""
    if out.is_symlink() or not (out / LEDGER).is_file():
        return False
    try:
        books = RepairBooks.model_validate_json((out / REPORT).read_bytes())
    except (OSError, ValidationError):
        return False
    mine = {
        LEDGER,
        REPORT,
        *(Path(copy).relative_to(Path(books.ledger).parent).as_posix() for copy in books.files.values()),
    }
    return {file.relative_to(out).as_posix() for file in out.rglob("*") if not file.is_dir()} <= mine


def fix(
    sources: Sequence[Source], out: Path, *, overwrite: bool = False, listener: Listener, stop: StopFlag
) -> RepairBooks:
    """Write a copy of every file below `out`. Raises EnvironmentFault if the disk refuses; nothing is left there then."""
    staging = out.with_name(f"{TEMPORARY_PREFIX}{out.name}-{os.getpid()}")
    with disk_faults(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(staging, ignore_errors=True)
        try:
            (staging / "rows").mkdir(parents=True)
            books = _Repair(sources, out, staging, listener, stop).run()
            if out.exists() and not overwrite:
                out.rmdir()  # refuses if something was put there meanwhile
            publish_folder(staging, out)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return books


class _Repair:
    """One repair of several files."""

    def __init__(
        self, sources: Sequence[Source], out: Path, staging: Path, listener: Listener, stop: StopFlag
    ) -> None:
        self._sources = sources
        self._out = out
        self._staging = staging
        self._listener = listener
        self._stop = stop
        self._names = copy_names([source.path for source in sources])
        self._staged = [staging / "rows" / str(number) for number in range(len(sources))]
        self._rows = self._edited = 0
        self._edits: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()

    def run(self) -> RepairBooks:
        """Repair, compare, copy; the books balance or the program is wrong."""
        with open(self._staging / LEDGER, "w", encoding="utf-8") as ledger:
            with Columns(self._staging / "rows", budget_bytes=COLUMN_BYTES) as columns:
                writer = IndexWriter(columns, None)
                for number, source in enumerate(self._sources):
                    self._stage(number, source, writer, ledger)
                index = writer.close(self._staged)
                repeats = self._find_repeats(index, ledger) if index else {}
            kept = sum(self._copy(number, repeats) for number in range(len(self._sources)))
        shutil.rmtree(self._staging / "rows")
        books = RepairBooks(
            rows_in=self._rows,
            rows_kept=kept,
            rows_edited=self._edited,
            edits=dict(sorted(self._edits.items())),
            dropped=dict(sorted(self._dropped.items())),
            files={
                str(s.path): str(self._out / name) for s, name in zip(self._sources, self._names, strict=True)
            },
            ledger=str(self._out / LEDGER),
        )
        off = books.rows_in - books.rows_kept - sum(books.dropped.values())
        assert off == 0, f"the books of the repair are off by {off} rows"
        (self._staging / REPORT).write_text(books.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return books

    def _stage(self, number: int, source: Source, writer: IndexWriter, ledger: IO[str]) -> None:
        split = split_of(source.path)
        for fault in source.head_faults:
            self._edits[fault.kind] += 1
            self._write(ledger, source, 1, {"action": "edit", "kind": fault.kind, "reason": fault.message})
        with open(self._staged[number], "wb") as out:
            for record in source.records():
                self._rows += 1
                if self._rows % ROWS_BETWEEN_LOOKS == 0:
                    self._stop.check(INTERRUPTED, fix="Repeat the command.")
                    size = source.path.stat().st_size
                    self._listener.progress("repair", min(record.offset, size), size, source.path.name)
                content, repaired = self._repair(source, record, ledger)
                if content is None:
                    continue
                if repaired is not None and repaired.view is not None and repaired.view.is_whole:
                    placed = Record(record.line, out.tell(), b"")
                    view = repaired.view
                    writer.add(
                        number,
                        placed,
                        view.wording(),
                        question=view.question(),
                        is_empty=False,
                        split=split,
                    )
                out.write(content)

    def _repair(
        self, source: Source, record: Record, ledger: IO[str]
    ) -> tuple[bytes | None, Repaired | None]:
        """The bytes of the row as it goes on; None if it does not."""
        parsed = parse_record(record, source.path)
        if parsed.fields is None:
            fault = parsed.faults[-1]
            self._drop(ledger, source, record, fault.kind, fault.message)
            return None, None
        content = record.content.rstrip(b"\r\n")
        if parsed.faults:
            content = decode_bytes(content).encode()
            text = record.content.decode("ascii", "backslashreplace").strip()
            self._edit(ledger, source, record, Edit("encoding", "", 0, text, content.decode()))
        repaired = repair_row(parsed.fields)
        if repaired.drop_kind:
            self._drop(ledger, source, record, repaired.drop_kind, repaired.drop_reason)
            return None, None
        for edit in repaired.edits:
            self._edit(ledger, source, record, edit)
        if repaired.edits:
            content = json.dumps(repaired.fields, ensure_ascii=False).encode()
        self._edited += bool(repaired.edits or parsed.faults)
        return content + b"\n", repaired

    def _drop(self, ledger: IO[str], source: Source, record: Record, kind: str, reason: str) -> None:
        self._dropped[kind] += 1
        self._write(ledger, source, record.line, {"action": "drop", "kind": kind, "reason": reason})

    def _edit(self, ledger: IO[str], source: Source, record: Record, edit: Edit) -> None:
        self._edits[edit.kind] += 1
        entry = {"place": edit.place, "at": edit.at, "before": edit.before, "after": edit.after}
        self._write(ledger, source, record.line, {"action": "edit", "kind": edit.kind, **entry})

    def _write(self, ledger: IO[str], source: Source, line: int, entry: dict[str, Any]) -> None:
        ledger.write(json.dumps({"file": str(source.path), "line": line, **entry}, ensure_ascii=False) + "\n")

    def _find_repeats(self, index: Index, ledger: IO[str]) -> dict[int, Array]:
        """By file the offsets of rows that are there already, once they are repaired."""
        table = index.table
        verdict = Verdict.all_kept(len(table))
        drop_exact(table, verdict, budget_bytes=BUDGET_BYTES)
        rows = np.flatnonzero(verdict.kind_S == EXACT)
        for row in rows.tolist():
            first = int(verdict.repeats_S[row])
            source = self._sources[int(table.file_N[row])]
            place = f"{self._sources[int(table.file_N[first])].path}:{table.line_N[first]}"
            self._drop(
                ledger, source, Record(int(table.line_N[row]), 0, b""), "duplicate", f"the same as {place}"
            )
        return {
            number: np.sort(table.offset_N[rows[table.file_N[rows] == number]])
            for number in range(len(self._sources))
        }

    def _copy(self, number: int, repeats: dict[int, Array]) -> int:
        """Copy the staged rows that no earlier row says already; returns how many."""
        left_out: Iterator[int] = iter(repeats.get(number, np.empty(0, dtype=np.int64)).tolist())
        skipped, kept = next(left_out, -1), 0
        target = self._staging / self._names[number]
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "wb") as out:
            for line in read_raw_lines(self._staged[number]):
                if line.offset == skipped:
                    skipped = next(left_out, -1)
                    continue
                out.write(line.content)
                kept += 1
        return kept


def copy_names(files: Sequence[Path]) -> list[Path]:
    """What the copies are called: the files' names, or their paths from the folder they share where two names are the same."""
    names = [Path(file.name) for file in files]
    if len({_as_lines(name) for name in names}) < len(names):
        resolved = [file.resolve() for file in files]
        shared = Path(os.path.commonpath([file.parent for file in resolved]))
        names = [file.relative_to(shared) for file in resolved]
    return [_as_lines(name) for name in names]


def _as_lines(name: Path) -> Path:
    """Copies are JSON lines, also of an array."""
    return name if name.suffix.lower() in (".jsonl", ".ndjson") else name.with_suffix(".jsonl")
