"""Look for the questions of other files in rows, of benchmark suites or of held-out splits: the one file that asks data/leaks."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from luthier.data.check.kinds import Fault
from luthier.data.check.source import Source, parse_record
from luthier.data.check.view import View, view_of
from luthier.data.leaks.find import PAIRS_OF_ROW, LeakSearch, open_index
from luthier.floor.errors import DataError
from luthier.floor.log import Listener
from luthier.floor.stop import StopFlag
from luthier.reports.leaks import LeakPair
from luthier.text.readers.endings import ENDINGS, ending_of
from luthier.text.row_files import find_files
from luthier.text.rows import Row

Placed = tuple[int, int, Fault]
"""File, line, and what is said."""
BATCH_ROWS, BATCH_CHARACTERS = 1024, 2**20
# Fields that ask, in suites that have a form of their own (multiple choice, continuation, code).
ASKING = ("question", "query", "prompt", "context", "ctx", "goal", "sentence", "instruction", "text", "input", "premise", "Question", "passage")  # fmt: skip
CONTAMINATION = dict.fromkeys(("exact", "folded", "near", "run"), "contamination")
# Questions that are the same but for case and signs are found among all rows, without an index of their own.
NEAR_LEAK = dict.fromkeys(("near", "run"), "near-leak")
LIKENESS = {
    "exact": "asks the same as",
    "folded": "asks, but for case and signs, the same as",
    "near": "asks nearly the same as",
    "run": "shares words in a row with",
}


class Suites:
    """Files whose questions are held as an index; rows stream past them. Without files nothing is looked for.

    `kinds` says what a likeness is called in a finding; those it leaves out are not told.
    """

    def __init__(
        self,
        files: Sequence[Path],
        folder: Path,
        kinds: Mapping[str, str],
        *,
        listener: Listener,
        stop: StopFlag,
    ) -> None:
        self._files = files
        self._kinds = kinds
        self._folder = folder
        self._listener = listener
        self._stop = stop
        self._stack = ExitStack()
        self._search: LeakSearch | None = None
        self._batch: list[tuple[int, int, Row]] = []
        self._characters = 0

    def __enter__(self) -> Self:
        """Read the suites. Raises DataError (data-empty) if they hold nothing that asks."""
        if self._files:
            index = self._stack.enter_context(open_index(self._rows()))
            if not index.rows:
                names = ", ".join(map(str, self._files))
                raise DataError("data-empty", f"there is no question in {names}", where="--against")
            self._search = LeakSearch(index, stop=self._stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def add(self, file: int, line: int, view: View) -> list[Placed]:
        """Take a row; returns what a full batch came to."""
        if self._search is None:
            return []
        row = row_of(view, f"{file}:{line}")
        if row is None:
            return []
        self._batch.append((file, line, row))
        self._characters += len(row.prompt) + len(row.completion) + len(row.text)
        if len(self._batch) < BATCH_ROWS and self._characters < BATCH_CHARACTERS:
            return []
        return self.close()

    def close(self) -> list[Placed]:
        """What the rows in hand came to."""
        batch, self._batch, self._characters = self._batch, [], 0
        if self._search is None or not batch:
            return []
        found: list[Placed] = []
        looked = self._search.look(row for _, _, row in batch)
        for (file, line, _), (_, pairs) in zip(batch, looked, strict=True):
            told = [pair for pair in pairs if pair.kind in self._kinds]
            if told:
                many = len(told) >= PAIRS_OF_ROW
                more = f" (and {'at least ' * many}{len(told) - 1} more)" if len(told) > 1 else ""
                found.append((file, line, Fault(self._kinds[told[0].kind], _told(told[0]) + more)))
        return found

    def _rows(self) -> Iterator[Row]:
        """The questions of the suites. Lines that cannot be read are told and passed over: they are not what is checked."""
        for file in self._files:
            source = Source(file, self._folder / "suite.spool")
            broken = 0
            for record in source.records():
                self._stop.check("the check was interrupted", fix="Repeat the command.")
                fields = parse_record(record, file).fields
                if fields is None:
                    broken += 1
                elif asked := _question(fields):
                    yield Row("text", f"{file}:{record.line}", text=asked)
            if broken:
                self._listener.warn(f"{file}: {broken:,} lines cannot be read; no row was compared with them")


def suite_files(paths: Sequence[Path]) -> list[Path]:
    """The files of suites: those named, and of a folder all whose name ends as rows do."""
    found = []
    for path in paths:
        files = find_files(path, "*", by_recipe=False)
        found += [file for file in files if file == path or ENDINGS.get(ending_of(file), "text") != "text"]
    return found


def row_of(view: View, origin: str) -> Row | None:
    """The texts of a row as the search for leaks reads them; None where there are none."""
    if view.prompt is not None:
        return Row("prompt_completion", origin, view.question(), view.answer)
    text = "\n".join(text.text for text in view.texts)
    return Row("text", origin, text=text) if text.strip() else None


def _question(fields: dict[str, object]) -> str:
    """What a row of a suite asks: by the fields that suites have, else as the checks see it."""
    view = view_of(fields)
    if isinstance(view, View) and view.prompt:
        return view.prompt
    named = next(
        (value for name in ASKING if isinstance(value := fields.get(name), str) and value.strip()), ""
    )
    if named:
        return named
    return view.wording().body if isinstance(view, View) else ""


def _told(pair: LeakPair) -> str:
    measure = f", Jaccard {pair.jaccard:.2f}" if pair.jaccard is not None else ""
    measure += f", {pair.run_words} words" if pair.run_words else ""
    return f"{LIKENESS[pair.kind]} {pair.against}{measure}: {_cut(pair.against_text)}"


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= 80 else text[:77] + "...")
