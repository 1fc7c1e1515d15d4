"""The rows of a recipe on their way from the files to their side, counted before and after every step.

Read, cleaned, repeats left out, leaks looked for, side taken, repeated by the weight of the source. What a step must know of all
rows beforehand (repeats, strata, the questions of the validation rows) is found in a first reading of its own.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Self

from luthier.data.clean.cleaner import Cleaner
from luthier.data.leak_check import LeakCheck
from luthier.data.mixture import NOT_DRAWN, Mixture
from luthier.data.repeats import Repeats
from luthier.data.sides import cleaned_again, cleaned_validation, sides_of
from luthier.data.split import Splitter
from luthier.encoding.dropped import DroppedRows
from luthier.reports.data import CleaningCounts
from luthier.reports.ledger import Account, StageBooks
from luthier.text.rows import Row

if TYPE_CHECKING:
    from luthier.data.write import Job


class Pipeline:
    """Hands out every row that is kept. A context manager: what it looks up lies in temporary files below `folder`."""

    def __init__(
        self, job: "Job", cleaner: Cleaner, dropped: DroppedRows, unused: Counter[str], folder: Path
    ) -> None:
        self.mixture = Mixture(job.sources.parts)
        self.leaks = LeakCheck(job.config.leaks, dropped, listener=job.listener, stop=job.stop)
        self._repeats = (
            Repeats(job.config.dedup, folder, job.listener, job.stop)
            if job.config.dedup.kind != "off"
            else None
        )
        self._dropped = dropped
        self._job = job
        self._cleaner = cleaner
        self._unused = unused
        self._stack = ExitStack()
        self._read = self._number = self._unlooked = self._split = 0
        self._repeated: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._stack.enter_context(self.leaks)
        if self._repeats:
            self._stack.enter_context(self._repeats)
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def assigned(self) -> Iterator[tuple[Row, bool]]:
        """Every row that is kept, as cleaning leaves it and as often as its source's weight says, and whether it is for validation."""
        splitter = self._look_first()
        sources = self._job.sources
        train = self._distinct(self._cleaned(sources.read_train(unused_fields=self._unused)))
        for row in self.leaks.pass_on(train, lambda row: splitter.side(row) == "train"):
            self._split += 1
            is_validation = splitter.side(row) != "train"
            copies = self.mixture.copies(row, is_validation=is_validation)
            if not copies:
                self._dropped.write("split", NOT_DRAWN, row.origin)
            for _ in range(copies):
                yield row, is_validation
        if sources.validation:
            for row in self._distinct(self._cleaned(sources.read_validation(unused_fields=self._unused))):
                self._unlooked += 1
                self._split += 1
                yield row, True
        if self._repeats:
            self._repeats.check_all_came(self._number)

    def ledger(self) -> list[StageBooks]:
        """The stages before the sides part; those that are off are left out."""
        sources = self._job.sources
        total = sum(file.stat().st_size for file in {*sources.train, *sources.validation})
        stages = [StageBooks(stage="read", bytes=total, rows=Account(came_in=self._read, kept=self._read))]
        if cleaning := self._cleaner.counts():
            stages.append(StageBooks(stage="cleaned", rows=_cleaning_account(cleaning)))
        if self._repeats:
            kept = self._number - self._repeated.total()
            rows = Account(came_in=self._number, kept=kept, dropped=dict(sorted(self._repeated.items())))
            stages.append(StageBooks(stage="deduplicated", rows=rows))
        if self.leaks.is_on:
            stages.append(StageBooks(stage="leaks", rows=self.leaks.account(others=self._unlooked)))
        stages.append(StageBooks(stage="split", rows=self.mixture.account(came_in=self._split)))
        return stages

    def _look_first(self) -> Splitter:
        """Go through the rows for what the steps must know of all of them; returns the sides."""
        job = self._job
        if self._repeats:
            job.listener.say("data: looking for repeats")
            self._repeats.find(chain(self._again(), self._validation_again()))
        splitter = sides_of(job.config, job.sources, self._kept(self._again()), seed=job.seed)
        if job.sources.validation:
            self.leaks.hold(self._validation_again())
        else:
            rows = self._kept(self._again())
            self.leaks.hold(row for row in rows if splitter.side(row) == "validation")
        return splitter

    def _again(self) -> Iterator[Row]:
        return cleaned_again(self._job.sources, self._job.filters, self._job.stop)

    def _validation_again(self) -> Iterator[Row]:
        if not self._job.sources.validation:
            return iter(())
        return cleaned_validation(self._job.sources, self._job.filters, self._job.stop)

    def _kept(self, rows: Iterator[Row]) -> Iterator[Row]:
        """Training rows that repeat nothing, without a note."""
        repeats = self._repeats
        return (row for number, row in enumerate(rows) if repeats is None or repeats.is_kept(number))

    def _cleaned(self, rows: Iterator[Row]) -> Iterator[Row]:
        return self._cleaner.clean(self._counted(rows))

    def _counted(self, rows: Iterator[Row]) -> Iterator[Row]:
        for row in rows:
            self._read += 1
            yield row

    def _distinct(self, rows: Iterator[Row]) -> Iterator[Row]:
        """Rows that repeat nothing; the others are noted with the row that stays for them."""
        for row in rows:
            number, self._number = self._number, self._number + 1
            if self._repeats and not self._repeats.is_kept(number):
                reason, kept, likeness = self._repeats.why(number)
                self._repeated[reason] += 1
                self._dropped.write("deduplicated", reason, row.origin, repeats=kept, **likeness)
                continue
            yield row


def _cleaning_account(counts: CleaningCounts) -> Account:
    dropped = {
        f"{name}: {reason}": rows
        for name, each in counts.filters.items()
        for reason, rows in each.dropped.items()
    }
    return Account(came_in=counts.rows_in, kept=counts.rows_kept, dropped=dropped)
