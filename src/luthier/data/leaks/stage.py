"""Look for leaks between two sets of files, and report them."""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from luthier.data.leaks.find import INTERRUPTED, VERSION, find_leaks
from luthier.data.leaks.suites import read_suites, suite_files
from luthier.floor.errors import UsageError
from luthier.floor.files import sha256_of
from luthier.floor.log import Listener, Silent
from luthier.floor.stop import StopFlag
from luthier.reports.leaks import LeaksReport
from luthier.reports.provenance import gather_provenance
from luthier.text.columns import Columns
from luthier.text.readers.sizes import guess_unpacked_bytes
from luthier.text.rows import FileSet, Row, read_rows_of

ROWS_BETWEEN_TALK = 2000


@dataclass(frozen=True)
class LeaksTask:
    """Rows to look at, the files whose questions are looked for, and how."""

    rows: tuple[Path, ...]
    against: tuple[Path, ...]
    threshold: float | None
    pairs_shown: int
    columns: Columns | None = None
    """Which columns make a row to look at; the other files ask in a form of their own."""


def look_for_leaks(
    task: LeaksTask, *, listener: Listener | None = None, stop: StopFlag | None = None
) -> LeaksReport:
    """Find the rows that hold a question of the other set.

    Raises DataError naming every row that cannot be read, UsageError if a file is on both sides.
    """
    listener, stop = listener or Silent(), stop or StopFlag()
    started = time.perf_counter()
    files = suite_files(task.rows, by_recipe=False)
    against = suite_files(task.against, by_recipe=False)
    _check_apart(files, against)
    sets = [FileSet((file,), columns=task.columns) for file in files]
    leaks = find_leaks(
        _telling(read_rows_of(sets, "auto"), files, listener, stop, "look for leaks"),
        _telling(read_suites(against, listener), against, listener, stop, "read questions"),
        threshold=task.threshold,
        most_pairs=task.pairs_shown,
        stop=stop,
    )
    hashes, asked = ({str(file): sha256_of(file) for file in each} for each in (files, against))
    parts: list[object] = [VERSION, hashes, asked, task.threshold, task.pairs_shown]
    if task.columns:
        parts.append(sorted(task.columns.of_field.items()))
    return LeaksReport(
        inputs_hash=hashlib.sha256(json.dumps(parts).encode()).hexdigest(),
        seconds=time.perf_counter() - started,
        provenance=gather_provenance(),
        files=hashes,
        against=asked,
        threshold=task.threshold,
        counts=leaks.counts,
        pairs=leaks.pairs,
    )


def _telling(
    rows: Iterator[Row], files: Sequence[Path], listener: Listener, stop: StopFlag, label: str
) -> Iterator[Row]:
    """The rows, with a word now and then about how far they are; a row's share of the bytes is its characters."""
    total, done = sum(map(guess_unpacked_bytes, files)), 0
    for number, row in enumerate(rows, start=1):
        done += sum(map(len, row.texts()))
        if number % ROWS_BETWEEN_TALK == 0:
            stop.check(INTERRUPTED, fix="Repeat the command.")
        if number % ROWS_BETWEEN_TALK == 0 and done < total:  # what packed files hold is guessed
            listener.progress(label, done, total, f"{number:,} rows")
        yield row
    listener.progress(label, total, total, "")


def _check_apart(files: Sequence[Path], against: Sequence[Path]) -> None:
    both = {file.resolve() for file in files} & {file.resolve() for file in against}
    if both:
        what = f"{min(both)} is on both sides: every row of it would leak into itself"
        raise UsageError("usage", what, where="the command line", fix="Name each file on one side.")
