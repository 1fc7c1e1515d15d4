"""Read rows, clean them, take sides, and write the two token stores with the ledger and the rows that went.

Holds one block of rows a split at a time, however large the data is; a block is large enough to keep every core of the
tokenizer busy.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from luthier.config.data import DataConfig
from luthier.data.cache import Prepared
from luthier.data.clean.cleaner import Cleaner, open_cleaner
from luthier.data.clean.filter import Dropped, Filter
from luthier.data.dropped import DroppedRows
from luthier.data.mixture import NOT_DRAWN, Mixture
from luthier.data.sides import sides_of
from luthier.data.sources import Sources
from luthier.data.split_store import SplitStore, count_characters
from luthier.floor.log import Listener
from luthier.floor.stop import StopFlag
from luthier.reports.data import CleaningCounts
from luthier.reports.ledger import Account, StageBooks, check_ledger
from luthier.text.render import Renderer
from luthier.text.rows import Row
from luthier.tokens.store import TokenStore


@dataclass(frozen=True)
class Job:
    """What writing needs to know."""

    sources: Sources
    config: DataConfig
    filters: Sequence[Filter]
    seed: int
    renderer: Renderer
    is_chat: bool
    vocabulary_size: int
    listener: Listener
    stop: StopFlag


def write_stores(job: Job, folder: Path) -> Prepared:
    """Write the stores `train` and, if it has rows, `validation` below `folder`, and beside them what was left out.

    Raises DataError listing the rows that cannot be used, EnvironmentFault if the disk is full.
    """
    unused: Counter[str] = Counter(job.sources.unread_columns)
    with ExitStack() as stack:
        dropped = stack.enter_context(DroppedRows(folder))
        train = stack.enter_context(SplitStore(job, folder, "train", dropped))
        validation = stack.enter_context(SplitStore(job, folder, "validation", dropped))
        cleaner = stack.enter_context(
            open_cleaner(job.filters, folder, job.stop, on_drop=_noting_in(dropped))
        )
        rows = Pipeline(job, cleaner, dropped, unused)
        progress = _Progress(job)
        for row, is_validation in rows.assigned():
            (validation if is_validation else train).add(row)
            progress.count(row)
        train.flush()
        validation.flush()
        progress.end()
    has_validation = validation.books.rendered.rows.came_in > 0
    ledger = [*rows.ledger(), *train.books.ledger("train")]
    ledger += validation.books.ledger("validation") if has_validation else []
    check_ledger(ledger)
    return Prepared(
        train=train.counts(),
        validation=validation.counts() if has_validation else None,
        unused_fields=dict(sorted(unused.items())),
        cleaning=cleaner.counts(),
        ledger=ledger,
        sources=rows.mixture.counts(TokenStore.open(folder / "train")),
    )


def _noting_in(dropped: DroppedRows) -> Callable[[Row, str, Dropped], None]:
    """Write what cleaning leaves out into the list of all rows that went."""

    def note(row: Row, name: str, why: Dropped) -> None:
        dropped.write("cleaned", f"{name}: {why.reason}", row.origin)

    return note


class Pipeline:
    """The rows on their way from the files to their side, counted before and after every step."""

    def __init__(self, job: Job, cleaner: Cleaner, dropped: DroppedRows, unused: Counter[str]) -> None:
        self.mixture = Mixture(job.sources.parts)
        self._dropped = dropped
        self._job = job
        self._cleaner = cleaner
        self._unused = unused
        self._read = self._split = 0

    def assigned(self) -> Iterator[tuple[Row, bool]]:
        """Every row that is kept, as cleaning leaves it and as often as its source's weight says, and whether it is for validation."""
        sources = self._job.sources
        job = self._job
        splitter = sides_of(job.config, sources, job.filters, seed=job.seed, stop=job.stop)
        for row in self._cleaner.clean(self._counted(sources.read_train(unused_fields=self._unused))):
            self._split += 1
            is_validation = splitter.side(row) != "train"
            copies = self.mixture.copies(row, is_validation=is_validation)
            if not copies:
                self._dropped.write("split", NOT_DRAWN, row.origin)
            for _ in range(copies):
                yield row, is_validation
        if sources.validation:
            for row in self._cleaner.clean(
                self._counted(sources.read_validation(unused_fields=self._unused))
            ):
                self._split += 1
                yield row, True

    def ledger(self) -> list[StageBooks]:
        """The stages before the sides part."""
        sources = self._job.sources
        files = {*sources.train, *sources.validation}
        stages = [
            StageBooks(
                stage="read",
                bytes=sum(file.stat().st_size for file in files),
                rows=Account(came_in=self._read, kept=self._read),
            )
        ]
        if cleaning := self._cleaner.counts():
            stages.append(StageBooks(stage="cleaned", rows=_cleaning_account(cleaning)))
        stages.append(StageBooks(stage="split", rows=self.mixture.account(came_in=self._split)))
        return stages

    def _counted(self, rows: Iterator[Row]) -> Iterator[Row]:
        for row in rows:
            self._read += 1
            yield row


def _cleaning_account(counts: CleaningCounts) -> Account:
    dropped = {
        f"{name}: {reason}": rows
        for name, each in counts.filters.items()
        for reason, rows in each.dropped.items()
    }
    return Account(came_in=counts.rows_in, kept=counts.rows_kept, dropped=dropped)


class _Progress:
    """Tells how much of the files' bytes is done, a hundred times at most."""

    def __init__(self, job: Job) -> None:
        self._listener = job.listener
        self._total = sum(file.stat().st_size for file in {*job.sources.train, *job.sources.validation})
        self._done = self._rows = 0
        self._next = self._total // 100

    def count(self, row: Row) -> None:
        self._done += count_characters(row)
        self._rows += 1
        if self._done >= self._next:
            self._next = self._done + self._total // 100
            self._listener.progress(
                "prepare", min(self._done, self._total), self._total, f"{self._rows} rows"
            )

    def end(self) -> None:
        self._listener.progress("prepare", self._total, self._total, f"{self._rows} rows")
