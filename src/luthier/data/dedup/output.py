"""Write what stays, byte for byte where it was a line, and what went, each under a temporary name until all of it is there."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from luthier.data.dedup.columns import Array
from luthier.data.dedup.lines import read_raw_lines
from luthier.data.dedup.picture import TEXT_SHOWN
from luthier.data.dedup.row_file import RowFile
from luthier.data.dedup.scan import Rereader
from luthier.data.dedup.table import Table
from luthier.data.dedup.verdict import KEPT, KINDS, NONE, Verdict, measure_of
from luthier.floor.errors import UsageError
from luthier.floor.files import TEMPORARY_PREFIX, disk_faults, sync_file, sync_folder


@dataclass(frozen=True)
class Outputs:
    """The files of one deduplication, named after the first."""

    rows: Path

    @property
    def dropped(self) -> Path:
        return self._beside(".dropped.jsonl")

    @property
    def conflicts(self) -> Path:
        return self._beside(".conflicts.jsonl")

    @property
    def report(self) -> Path:
        return self._beside(".report.json")

    def _beside(self, ending: str) -> Path:
        return self.rows.with_name(self.rows.name.removesuffix(".jsonl") + ending)

    def check(self, inputs: Iterable[Path], *, overwrite: bool) -> None:
        """Raise UsageError if a file is there already, or if an input would be written over."""
        if self.rows.is_dir():
            fix = f"Name a file: --out {self.rows / 'train.jsonl'}"
            raise UsageError("usage", f"{self.rows} is a folder", where="--out", fix=fix)
        mine = (self.rows, self.dropped, self.conflicts, self.report)
        read = {path.resolve() for path in inputs}
        for path in mine:
            if path.resolve() in read:
                what = f"{path} is read and would be written over"
                raise UsageError("usage", what, where="--out", fix="Name another file by --out.")
        there = [str(path) for path in mine if path.exists()]
        if there and not overwrite:
            fix = "Name another file by --out, or replace these with --overwrite."
            raise UsageError(
                "usage", f"{there[0]} is there already", where="--out", problems=there[1:], fix=fix
            )


def write_outputs(
    outputs: Outputs,
    sources: Sequence[RowFile],
    table: Table,
    verdict: Verdict,
    reader: Rereader,
    conflict_groups: Iterable[Array],
) -> None:
    """Write kept rows, dropped rows and conflicts; the names appear when all three are whole.

    Raises DataError if a source changed since it was read, EnvironmentFault if the disk refuses.
    """
    with disk_faults(outputs.rows):
        outputs.rows.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            files = [
                stack.enter_context(_temporary(path))
                for path in (outputs.rows, outputs.dropped, outputs.conflicts)
            ]
            rows, dropped, conflicts = files
            _copy_kept(sources, table, verdict, rows)
            _write_lines(dropped, _dropped_lines(table, verdict))
            _write_lines(conflicts, _conflict_lines(table, reader, conflict_groups))
            reader.check_unchanged()
            outputs.report.unlink(missing_ok=True)
            for file, path in zip(files, (outputs.rows, outputs.dropped, outputs.conflicts), strict=True):
                file.flush()
                sync_file(Path(file.name))
                os.replace(file.name, path)
        sync_folder(outputs.rows.parent)


@contextmanager
def _temporary(path: Path) -> Iterator[BinaryIO]:
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{path.name}-{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            yield file
    finally:
        temporary.unlink(missing_ok=True)


def _copy_kept(sources: Sequence[RowFile], table: Table, verdict: Verdict, out: BinaryIO) -> None:
    """The lines of the kept rows, in order; a last line without an end gets one, or two rows would become one."""
    row = 0
    for source in sources:
        for line in read_raw_lines(source.lines):
            if row < table.first_against and verdict.kind_S[row] == KEPT:
                out.write(line.content if line.content.endswith(b"\n") else line.content + b"\n")
            row += 1


def _dropped_lines(table: Table, verdict: Verdict) -> Iterator[dict[str, Any]]:
    for row in np.flatnonzero(verdict.kind_S != KEPT).tolist():
        line: dict[str, Any] = {
            "row": table.origin(row),
            "repeats": table.origin(int(verdict.repeats_S[row])),
            "kind": KINDS[verdict.kind_S[row]],
            measure_of(verdict, row): round(float(verdict.jaccard_S[row]), 6),
        }
        if verdict.via_S[row] != NONE:
            line["via"] = table.origin(int(verdict.via_S[row]))
            line["via_jaccard"] = round(float(verdict.via_jaccard_S[row]), 6)
        yield line


def _conflict_lines(table: Table, reader: Rereader, groups: Iterable[Array]) -> Iterator[dict[str, Any]]:
    for rows in groups:
        wordings = [reader.wording(int(table.file_N[row]), int(table.offset_N[row])) for row in rows.tolist()]
        yield {
            "prompt": (wordings[0].prompt or "")[:TEXT_SHOWN],
            "same_as_written": len({(wording.prompt or "").strip() for wording in wordings}) == 1,
            "rows": [
                {"row": table.origin(row), "answer": wording.answer[:TEXT_SHOWN]}
                for row, wording in zip(rows.tolist(), wordings, strict=True)
            ],
        }


def _write_lines(file: BinaryIO, lines: Iterable[dict[str, Any]]) -> None:
    for line in lines:
        file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
