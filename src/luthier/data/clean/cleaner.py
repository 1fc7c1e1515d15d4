"""Run the filters over rows, one row at a time, and keep their books: rows in are rows kept and rows left out, filter by filter."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from luthier.data.clean.filter import BatchFilter, Dropped, Filter, Kept, texts_of
from luthier.data.clean.ledger import Ledger
from luthier.data.clean.personal import PersonalFilter
from luthier.data.clean.samples import Samples
from luthier.encoding.books import why_empty
from luthier.floor.secrets import hide_secrets
from luthier.floor.stop import StopFlag
from luthier.reports.data import CleaningCounts, FilterCounts
from luthier.text.rows import Row

EMPTY = "empty"
OnDrop = Callable[[Row, str, Dropped], None]
ROWS_BETWEEN_LOOKS = 256
BATCH_CHARACTERS = 2**24
INTERRUPTED = "the cleaning of the rows was interrupted; nothing of it was kept"


@dataclass
class _FilterBooks:
    rows_edited: int = 0
    texts_edited: int = 0
    characters_removed: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)

    def close(self) -> FilterCounts:
        return FilterCounts(
            rows_edited=self.rows_edited,
            texts_edited=self.texts_edited,
            characters_removed=self.characters_removed,
            dropped=dict(sorted(self.dropped.items())),
            found=dict(sorted(self.found.items())),
        )


class Cleaner:
    """The filters in their order, and what they did so far."""

    def __init__(
        self,
        filters: Sequence[Filter],
        ledger: Ledger | None = None,
        *,
        stop: StopFlag | None = None,
        on_drop: OnDrop | None = None,
    ) -> None:
        self._filters = filters
        self._rowwise = [each for each in filters if not isinstance(each, BatchFilter)]
        self._on_drop = on_drop
        self._stop = stop or StopFlag()
        self._ledger = ledger
        self._rows_in = self._rows_kept = self._rows_edited = 0
        self._books = {name: _FilterBooks() for name in (EMPTY, *(each.name for each in filters))}

    def clean(self, rows: Iterator[Row]) -> Iterator[Row]:
        """The rows that are kept, edited; the very same rows if no filter is on."""
        return self._clean(rows) if self._filters else rows

    def counts(self) -> CleaningCounts | None:
        """The books as a report holds them, None if no filter is on; they balance, or the program is wrong."""
        if not self._filters:
            return None
        dropped = sum(sum(books.dropped.values()) for books in self._books.values())
        assert self._rows_in == self._rows_kept + dropped, "the books of the cleaning do not balance"
        return CleaningCounts(
            rows_in=self._rows_in,
            rows_kept=self._rows_kept,
            rows_edited=self._rows_edited,
            filters={name: books.close() for name, books in self._books.items()},
        )

    def _clean(self, rows: Iterator[Row]) -> Iterator[Row]:
        passed = self._passed(rows)
        for judge in self._filters:
            if isinstance(judge, BatchFilter):
                passed = self._judged(judge, passed)
        for row, cleaned in passed:
            self._rows_kept += 1
            self._rows_edited += cleaned is not row
            yield cleaned

    def _passed(self, rows: Iterator[Row]) -> Iterator[tuple[Row, Row]]:
        """What the filters that look at one row keep, beside the row as it came."""
        for row in rows:
            if self._rows_in % ROWS_BETWEEN_LOOKS == 0:  # where every row is dropped, nobody else looks
                self._stop.check(INTERRUPTED, fix="Repeat the command.")
            self._rows_in += 1
            cleaned = self._run(row)
            if cleaned is not None:
                yield row, cleaned

    def _judged(self, judge: BatchFilter, passed: Iterator[tuple[Row, Row]]) -> Iterator[tuple[Row, Row]]:
        """Those pairs of a row and what the filters before made of it that a judge of many keeps."""
        while batch := _take(passed, judge.rows_at_once):
            self._stop.check(INTERRUPTED, fix="Repeat the command.")
            for pair, verdict in zip(batch, judge.judge([row for _, row in batch]), strict=True):
                self._books[judge.name].found.update(verdict.found)
                if isinstance(verdict, Dropped):
                    self._drop(pair[1], judge.name, verdict)
                else:
                    yield pair

    def _run(self, row: Row) -> Row | None:
        """The row after all filters, or None if one of them leaves it out."""
        reason = why_empty(row)
        if reason:
            self._drop(row, EMPTY, Dropped(reason))
            return None
        for each in self._rowwise:
            verdict = each.apply(row)
            if verdict.found:
                self._books[each.name].found.update(verdict.found)
            if isinstance(verdict, Kept) and verdict.row is not row:
                verdict = self._note_edits(each.name, row, verdict)
            if isinstance(verdict, Dropped):
                self._drop(row, each.name, verdict)
                return None
            row = verdict.row
        return row

    def _note_edits(self, name: str, old: Row, verdict: Kept) -> Kept | Dropped:
        """Count and sample the edits of one filter; a row with nothing left to say is left out."""
        new = verdict.row
        edits = [
            (field, before, after)
            for (field, before), (_, after) in zip(texts_of(old), texts_of(new), strict=True)
            if before != after
        ]
        emptied = next((field for field, before, after in edits if before.strip() and not after.strip()), "")
        if emptied:
            return Dropped(why_empty(new) or "empty message", emptied)
        books = self._books[name]
        books.rows_edited += 1
        books.texts_edited += len(edits)
        books.characters_removed += sum(len(before) - len(after) for _, before, after in edits)
        if self._ledger:
            self._ledger.samples.offer(name, old.origin, edits)
        return verdict

    def _drop(self, row: Row, name: str, dropped: Dropped) -> None:
        self._books[name].dropped[dropped.reason] += 1
        if self._ledger:
            self._ledger.drop(row, name, dropped)
        if self._on_drop:
            self._on_drop(row, name, dropped)


def _take(pairs: Iterator[tuple[Row, Row]], rows: int) -> list[tuple[Row, Row]]:
    """The next so many, fewer where they are long."""
    taken: list[tuple[Row, Row]] = []
    characters = 0
    for pair in pairs:
        taken.append(pair)
        characters += sum(map(len, pair[1].texts()))
        if len(taken) >= rows or characters >= BATCH_CHARACTERS:
            break
    return taken


@contextmanager
def open_cleaner(
    filters: Sequence[Filter], folder: Path, stop: StopFlag, *, on_drop: OnDrop | None = None
) -> Iterator[Cleaner]:
    """A cleaner that writes down below `folder` what it does; without filters it does nothing and writes nothing.

    `on_drop` is told of every row that is left out, the filter's name, and why.
    """
    if not filters:
        yield Cleaner((), stop=stop)
        return
    with Ledger(folder, Samples(_hider(filters))) as ledger:
        yield Cleaner(filters, ledger, stop=stop, on_drop=on_drop)


def _hider(filters: Sequence[Filter]) -> Callable[[str], str]:
    """What keeps out of the samples whatever the recipe looks for as personal, and tokens of services in any case."""
    maskers = [each.masker() for each in filters if isinstance(each, PersonalFilter)]
    return maskers[0] if maskers else hide_secrets
