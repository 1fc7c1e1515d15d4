"""Split files of rows into training, validation and test files of JSON lines.

Every line is copied byte for byte in its order, and every row of another file written as a line; which side it goes to is decided by split.py.
"""

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from luthier.data.dedup.lines import read_raw_lines
from luthier.data.dedup.row_file import are_lines
from luthier.data.split import SIDES, Keys, Side, choose_splitter
from luthier.floor.errors import UsageError
from luthier.floor.files import TEMPORARY_PREFIX, disk_faults, sha256_of, sync_file, sync_folder
from luthier.floor.log import Listener, Silent
from luthier.floor.stop import StopFlag
from luthier.reports.provenance import gather_provenance
from luthier.reports.split import SideCounts, SplitReport
from luthier.text.columns import Columns
from luthier.text.problems import Problems
from luthier.text.readers.record import as_json_line
from luthier.text.readers.sizes import guess_unpacked_bytes
from luthier.text.row_files import find_files, warn_of_files_passed_over
from luthier.text.rows import FileSet, Row, read_rows_of

REPORT = "split.report.json"
STRATA_TOLD = 50
ROWS_BETWEEN_LOOKS = 2000
INTERRUPTED = "the split was interrupted; nothing was written"
VERSION = 1


@dataclass(frozen=True)
class SplitTask:
    """What to split, how, and where to; without `out` nothing is written."""

    sources: tuple[Path, ...]
    shares: dict[Side, float]
    seed: int
    columns: Columns | None = None
    """Which columns make a row."""
    group_by: str | None = None
    stratify_by: str | None = None
    out: Path | None = None
    overwrite: bool = False


def split_files(
    task: SplitTask, *, listener: Listener | None = None, stop: StopFlag | None = None
) -> SplitReport:
    """Split the rows of all sources, in order. The files get their names when all of them are whole.

    Raises UsageError if a file is there already, DataError naming every row that cannot be read.
    """
    listener, stop = listener or Silent(), stop or StopFlag()
    started = time.perf_counter()
    files = _find(task)
    for source in task.sources:
        warn_of_files_passed_over(source, listener)
    total, done = sum(map(guess_unpacked_bytes, files)), 0
    splitter = choose_splitter(
        _counting(_rows(files, task), total, listener, stop),
        seed=task.seed,
        shares=task.shares,
        by_group=task.group_by is not None,
        stratified=task.stratify_by is not None,
    )
    keys, seen = Keys(seed=task.seed, by_group=task.group_by is not None), set[int]()
    counts: Counter[Side] = Counter()
    strata: dict[str, Counter[Side]] = {}
    with _Sides(task.out) as sides:
        for number, (line, row) in enumerate(_lines(files, task)):
            done += len(line)
            if number % ROWS_BETWEEN_LOOKS == 0:
                stop.check(INTERRUPTED, fix="Repeat the command.")
                listener.progress("split", min(done, total), total, f"{number:,} rows")
            side = splitter.side(row)
            counts[side] += 1
            seen.add(keys.number(row))
            if task.stratify_by:
                strata.setdefault(row.stratum, Counter())[side] += 1
            sides.write(side, line)
        sides.publish(counts)
    report = _report(task, files, counts, strata, keys=len(seen), seconds=time.perf_counter() - started)
    return report.write(task.out / REPORT) if task.out else report


def _find(task: SplitTask) -> list[Path]:
    files = [file for path in task.sources for file in find_files(path, by_recipe=False)]
    if task.out:
        if task.out.exists() and not task.out.is_dir():
            fix = "Name a folder: --out data/split"
            raise UsageError("usage", f"{task.out} is no folder", where="--out", fix=fix)
        _check_free(task.out, files, overwrite=task.overwrite)
    return list(dict.fromkeys(files))


def _check_free(out: Path, files: Sequence[Path], *, overwrite: bool) -> None:
    mine = [out / f"{side}.jsonl" for side in SIDES]
    read = {file.resolve() for file in files}
    for path in mine:
        if path.resolve() in read:
            what = f"{path} is read and would be written over"
            raise UsageError("usage", what, where="--out", fix="Name another folder by --out.")
    there = [str(path) for path in mine if path.exists()]
    if there and not overwrite:
        fix = "Name another folder by --out, or replace these with --overwrite."
        raise UsageError("usage", f"{there[0]} is there already", where="--out", problems=there[1:], fix=fix)


def _rows(files: Sequence[Path], task: SplitTask) -> Iterator[Row]:
    return read_rows_of([_set(file, task) for file in files], "auto")


def _set(file: Path, task: SplitTask) -> FileSet:
    return FileSet((file,), columns=task.columns, group_by=task.group_by, stratify_by=task.stratify_by)


def _counting(rows: Iterator[Row], total: int, listener: Listener, stop: StopFlag) -> Iterator[Row]:
    """The rows of the first pass over them, which can be stopped and tells how far it is."""
    done = 0
    for number, row in enumerate(rows):
        done += sum(map(len, row.texts()))
        if number % ROWS_BETWEEN_LOOKS == 0:
            stop.check(INTERRUPTED, fix="Repeat the command.")
            if done < total:
                listener.progress("count", done, total, f"{number:,} rows")
        yield row


def _lines(files: Sequence[Path], task: SplitTask) -> Iterator[tuple[bytes, Row]]:
    """Every line beside its row; both pass over blank lines."""
    raw = (line for file in files for line in _raw_lines(file, task))
    yield from zip(raw, _rows(files, task), strict=True)


def _raw_lines(file: Path, task: SplitTask) -> Iterator[bytes]:
    """The lines of a file as they are; of a table, an array or a packed file its rows, with all their fields."""
    if are_lines(file):
        return (line.content for line in read_raw_lines(file))
    return (as_json_line(fields) for _, fields in _set(file, task).records(file, Problems()))


class _Sides:
    """The files of a split under temporary names; without a folder nothing is written."""

    def __init__(self, out: Path | None) -> None:
        self._out = out
        self._stack = ExitStack()
        self._files: dict[Side, BinaryIO] = {}

    def __enter__(self) -> "_Sides":
        if self._out:
            with disk_faults(self._out):
                self._out.mkdir(parents=True, exist_ok=True)
                for side in SIDES:
                    file = open(self._temporary(side), "wb")
                    self._files[side] = self._stack.enter_context(file)
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()
        for side in self._files:
            self._temporary(side).unlink(missing_ok=True)

    def write(self, side: Side, line: bytes) -> None:
        """Add a line; a last line without an end gets one, or two rows would become one."""
        if self._out:
            with disk_faults(self._out):
                self._files[side].write(line if line.endswith(b"\n") else line + b"\n")

    def publish(self, counts: Counter[Side]) -> None:
        """Give the files their names; a side without a row has none."""
        if not self._out:
            return
        with disk_faults(self._out):
            (self._out / REPORT).unlink(missing_ok=True)
            for side, file in self._files.items():
                file.flush()
                sync_file(self._temporary(side))
                if counts[side]:
                    os.replace(self._temporary(side), self._out / f"{side}.jsonl")
                else:
                    (self._out / f"{side}.jsonl").unlink(missing_ok=True)
            sync_folder(self._out)

    def _temporary(self, side: Side) -> Path:
        assert self._out is not None, "there is a folder"
        return self._out / f"{TEMPORARY_PREFIX}{side}-{os.getpid()}"


def _report(
    task: SplitTask,
    files: Sequence[Path],
    counts: Counter[Side],
    strata: dict[str, Counter[Side]],
    *,
    keys: int,
    seconds: float,
) -> SplitReport:
    hashes = {str(file): sha256_of(file) for file in files}
    total = counts.total()
    largest = sorted(strata, key=lambda name: (-strata[name].total(), name))[:STRATA_TOLD]
    columns = sorted(task.columns.of_field.items()) if task.columns else None
    parts = [VERSION, hashes, task.shares, task.seed, columns, task.group_by, task.stratify_by]
    return SplitReport(
        inputs_hash=hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest(),
        seconds=seconds,
        provenance=gather_provenance(),
        files=hashes,
        seed=task.seed,
        group_by=task.group_by,
        stratify_by=task.stratify_by,
        rows_in=total,
        keys=keys,
        sides={side: _side(task, side, counts[side], total) for side in SIDES},
        strata={name: {side: strata[name][side] for side in SIDES} for name in largest},
    )


def _side(task: SplitTask, side: Side, rows: int, total: int) -> SideCounts:
    asked = task.shares.get(side, 0.0) if side != "train" else 1 - sum(task.shares.values())
    file = str(task.out / f"{side}.jsonl") if task.out and rows else None
    return SideCounts(rows=rows, share_asked=round(asked, 6), share=rows / max(1, total), file=file)
