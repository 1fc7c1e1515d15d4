"""Find every fault of rows in one pass over their files, then what only shows across rows; repair a copy where that is asked for.

Reads and tells, and never stops at a fault: a line that cannot be read is a finding like any other. Memory holds numbers of
each row and of each finding, texts only of the batch in hand.
"""

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from luthier.config.data import FileFormat
from luthier.data.check.across import compare_rows
from luthier.data.check.answers import check_answers, check_personal
from luthier.data.check.as_training import read_row
from luthier.data.check.characters import check_characters, mojibake_repair
from luthier.data.check.contamination import CONTAMINATION, NEAR_LEAK, Suites, suite_files
from luthier.data.check.index import IndexWriter, ViewReader, split_of
from luthier.data.check.kinds import KINDS, Fault
from luthier.data.check.measure import Measure
from luthier.data.check.repair import WORTHLESS
from luthier.data.check.shapes import KIND_OF, unused_fields
from luthier.data.check.source import Record, Source, parse_record
from luthier.data.check.store import FindingStore
from luthier.data.check.tools import check_tools
from luthier.data.check.turns import check_turns
from luthier.data.check.view import View, view_of
from luthier.data.dedup.columns import Columns as NumberColumns
from luthier.data.dedup.sketch import Sketcher, choose_bands, find_engine
from luthier.floor.errors import EnvironmentFault, UsageError
from luthier.floor.log import Listener, Silent
from luthier.floor.stop import StopFlag
from luthier.floor.units import count_of
from luthier.text.columns import Columns
from luthier.text.row_files import find_files, warn_of_files_passed_over
from luthier.text.rows import Row

if TYPE_CHECKING:
    from luthier.data.check.lengths import LengthMeter

__all__ = ["CheckTask", "Checked", "check"]

THRESHOLD = 0.8
COLUMN_BYTES = 2**30
INTERRUPTED = "the check was interrupted"
ROWS_BETWEEN_LOOKS = 500
CHECKS = (check_turns, check_tools, check_characters, check_answers, check_personal)


@dataclass(frozen=True)
class CheckTask:
    """What to check, with which suites and which tokenizer. Without `measure` no length is measured."""

    paths: tuple[Path, ...]
    against: tuple[Path, ...] = ()
    measure: Measure | None = None
    columns: Mapping[Path, Columns] = field(default_factory=dict)
    """By file the columns that make a row, where they are named. Held-out files may lack them."""
    formats: Mapping[Path, FileFormat] = field(default_factory=dict)
    """By file what it is, where that is said; the others go by the endings of their names."""


@dataclass(frozen=True)
class Checked:
    """What was found; the findings lie in `store` as long as the check's context lasts."""

    files: tuple[Path, ...]
    rows: int
    store: FindingStore
    costs: tuple[tuple[int, int, float], ...]
    """Each max_length, rows cut, and the share of trained tokens lost; none if lengths were not measured."""
    sources: tuple[Source, ...]


@contextmanager
def check(
    task: CheckTask, *, listener: Listener | None = None, stop: StopFlag | None = None
) -> Iterator[Checked]:
    """Look at every row of every file, once, and then compare them.

    Raises DataError if a file is missing or no text at all, ModelError if the tokenizer cannot be used.
    """
    listener, stop = listener or Silent(), stop or StopFlag()
    files = find_inputs(task.paths)
    for path in task.paths:
        warn_of_files_passed_over(path, listener)
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="luthier-check-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        sources = tuple(
            Source(
                path,
                folder / f"{number}.spool",
                task.columns.get(path),
                file_format=task.formats.get(path, "auto"),
                may_lack_columns=bool(split_of(path)),
            )
            for number, path in enumerate(files)
        )
        meter = _meter(task.measure)
        store = stack.enter_context(FindingStore(files, folder))
        columns = stack.enter_context(NumberColumns(folder, budget_bytes=COLUMN_BYTES))
        suites, held_out = (
            stack.enter_context(Suites(paths, folder, kinds, listener=listener, stop=stop))
            for paths, kinds in ((suite_files(task.against), CONTAMINATION), (held_out_of(files), NEAR_LEAK))
        )
        sketcher = _sketcher(listener)
        if mojibake_repair() is None:
            listener.warn("wrong decodings were not looked for: pip install 'luthier[clean]'")
        writer = IndexWriter(columns, sketcher)
        look = _Pass(sources, store, writer, meter, suites, held_out, listener, stop)
        look.run()
        index = look.index.close(files)
        if index is not None:
            reader = stack.enter_context(ViewReader([source.readable for source in sources]))
            bands = sketcher.bands if sketcher else None
            for row, fault in compare_rows(index, reader, bands, listener=listener, stop=stop):
                store.add(int(index.table.file_N[row]), int(index.table.line_N[row]), fault)
        yield Checked(files, look.rows, store, tuple(meter.costs()) if meter else (), sources)


def find_inputs(paths: Sequence[Path]) -> tuple[Path, ...]:
    """The files, each once. Raises UsageError for a file that is named twice: all its rows would repeat themselves."""
    files = [file for path in paths for file in find_files(path, by_recipe=False)]
    seen = Counter(file.resolve() for file in files)
    twice = next((file for file in files if seen[file.resolve()] > 1), None)
    if twice:
        what = f"{twice} is named twice: every row of it would repeat itself"
        raise UsageError("usage", what, where="the command line", fix="Name each file once.")
    return tuple(files)


def held_out_of(files: Sequence[Path]) -> list[Path]:
    """Those files that are of a validation or test split, if there are training rows beside them."""
    held_out = [path for path in files if split_of(path)]
    return held_out if len(held_out) < len(files) else []


def _meter(measure: Measure | None) -> "LengthMeter | None":
    """What measures lengths, loaded only where it is needed."""
    if measure is None:
        return None
    from luthier.data.check.lengths import LengthMeter

    return LengthMeter(measure)


def _sketcher(listener: Listener) -> Sketcher | None:
    try:
        return Sketcher(find_engine(), choose_bands(THRESHOLD))
    except EnvironmentFault:
        listener.warn("near-duplicates were not looked for: pip install 'luthier[dedup]'")
        return None


@dataclass
class _Pass:
    """The one pass over all files."""

    sources: Sequence[Source]
    store: FindingStore
    index: IndexWriter
    meter: "LengthMeter | None"
    suites: Suites
    held_out: Suites
    listener: Listener
    stop: StopFlag
    rows: int = 0
    empty_rows: int = 0
    first_empty: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        self._sizes = [source.path.stat().st_size for source in self.sources]

    def run(self) -> None:
        """Look at every row; what batches hold back is told at the end."""
        for number, source in enumerate(self.sources):
            self._file(number, source)
        for file, line, fault in [
            *(self.meter.close() if self.meter else []),
            *self.suites.close(),
            *self.held_out.close(),
        ]:
            self.store.add(file, line, fault)
        if self.empty_rows:
            self.store.add(*self.first_empty, Fault("guide-empty", f"Found {self.empty_rows} empty samples"))
        total = max(1, sum(self._sizes))
        self.listener.progress("check", total, total, count_of(self.rows, "row"))

    def _file(self, number: int, source: Source) -> None:
        for fault in source.head_faults:
            self.store.add(number, 1, fault)
        state = _FileState(split=split_of(source.path))
        for record in source.records():
            self.rows += 1
            state.rows += 1
            if self.rows % ROWS_BETWEEN_LOOKS == 0:
                self.stop.check(INTERRUPTED, fix="Repeat the command.")
                done = sum(self._sizes[:number]) + min(record.offset, self._sizes[number])
                self.listener.progress("check", done, sum(self._sizes), count_of(self.rows, "row"))
            self._record(number, source, record, state)
        if not state.rows:
            self.store.add(number, 1, Fault("empty-file", "the file holds no row"))
        for name, (line, rows) in state.unused.items():
            self.store.add(
                number,
                line,
                Fault(
                    "unused-field",
                    f"no shape uses the field {name!r}, which {count_of(rows, 'row')} {'has' if rows == 1 else 'have'}",
                ),
            )

    def _record(self, number: int, source: Source, record: Record, state: "_FileState") -> None:
        parsed = parse_record(record, source.path)
        faults = list(parsed.faults)
        view = view_of(parsed.fields) if parsed.fields is not None else None
        if isinstance(view, View):
            faults += view.faults
            for check_row in CHECKS:
                faults += check_row(view)
            if not any(KINDS[fault.kind].severity == "error" for fault in faults):
                faults += state.read(view, record.line, source.path)
            faults += state.judge(view, record.line)
            is_empty = any(fault.kind in WORTHLESS for fault in faults)
            self._compare_later(number, record, view, is_empty=is_empty, split=state.split)
        elif view is not None:
            faults += view
        for fault in faults:
            self.store.add(number, record.line, fault)

    def _compare_later(self, number: int, record: Record, view: View, *, is_empty: bool, split: int) -> None:
        wording = view.wording()
        self.index.add(
            number,
            record,
            wording,
            question=view.question(),
            is_empty=is_empty or not view.is_whole,
            split=split,
        )
        if view.is_whole and not wording.body.strip():
            self.empty_rows += 1
            if self.empty_rows == 1:
                self.first_empty = (number, record.line)
        placed = self.suites.add(number, record.line, view)
        if not split:
            placed += self.held_out.add(number, record.line, view)
        if self.meter and not is_empty and view.is_whole:
            placed += self.meter.add(number, record.line, view)
        for file, line, fault in placed:
            self.store.add(file, line, fault)


@dataclass
class _FileState:
    """What the rows of a file have shown so far."""

    split: int
    rows: int = 0
    kind: str = ""
    first_shape: str = ""
    is_export_told: bool = False

    def __post_init__(self) -> None:
        self.unused: dict[str, tuple[int, int]] = {}

    def read(self, view: View, line: int, path: Path) -> Iterator[Fault]:
        """The row as training reads it, or what it says instead; once a file, where that is to convert it first."""
        read = read_row(view.fields, f"{path}:{line}")
        if isinstance(read, Row):
            view.row = read
        elif view.shape in KIND_OF:
            yield read
        elif not self.is_export_told:
            self.is_export_told = True
            yield Fault("other-dialect", f"{view.shape} rows, which training does not read as they are")

    def judge(self, view: View, line: int) -> Iterator[Fault]:
        """What is wrong with a row beside the others of its file."""
        kind = view.row.kind if view.row else KIND_OF.get(view.shape, view.shape)
        if not self.kind:
            self.kind, self.first_shape = kind, view.shape
        elif kind != self.kind:
            yield Fault("mixed-shapes", f"is {view.shape}, and the file began with {self.first_shape}")
        for name in unused_fields(view.fields, view.shape):
            if name in self.unused or len(self.unused) < 50:
                first, rows = self.unused.get(name, (line, 0))
                self.unused[name] = (first, rows + 1)
