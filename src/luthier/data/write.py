"""Read rows, clean them, take sides, and write the two token stores with the ledger and the rows that went.

Holds one block of rows a split at a time, however large the data is; a block is large enough to keep every core of the
tokenizer busy.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from luthier.config.data import DataConfig
from luthier.data.cache import Prepared, open_training
from luthier.data.clean.cleaner import open_cleaner
from luthier.data.clean.filter import Dropped, Filter
from luthier.data.pipeline import Pipeline
from luthier.data.sources import Sources
from luthier.data.split_store import SplitStore, count_characters
from luthier.data.text_split import ForLater, TextSplit
from luthier.encoding.dropped import DroppedRows
from luthier.floor.log import Listener
from luthier.floor.stop import StopFlag
from luthier.floor.units import count_of
from luthier.reports.ledger import check_ledger
from luthier.text.readers.sizes import guess_unpacked_bytes
from luthier.text.render import Renderer
from luthier.text.rows import Row


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
    later: ForLater | None = None
    """Given where training rows are kept as texts and tokenized on the fly."""


def write_stores(job: Job, folder: Path) -> Prepared:
    """Write the stores of both splits below `folder`, and beside them what was left out.

    Training rows that are tokenized on the fly become a text store, all others token stores.

    Raises DataError listing the rows that cannot be used, EnvironmentFault if the disk is full.
    """
    unused: Counter[str] = Counter(job.sources.unread_columns)
    with ExitStack() as stack:
        dropped = stack.enter_context(DroppedRows(folder))
        train: SplitStore | TextSplit
        if job.later:
            train = stack.enter_context(TextSplit(job, job.later, folder, dropped))
        else:
            train = stack.enter_context(SplitStore(job, folder, "train", dropped))
        validation = stack.enter_context(SplitStore(job, folder, "validation", dropped))
        cleaner = stack.enter_context(
            open_cleaner(job.filters, folder, job.stop, on_drop=_noting_in(dropped))
        )
        rows = stack.enter_context(Pipeline(job, cleaner, dropped, unused, folder))
        progress = _Progress(job)
        for row, is_validation in rows.assigned():
            (validation if is_validation else train).add(row)
            progress.count(row)
        train.flush()
        validation.flush()
        progress.end()
        leaks = rows.leaks.findings()
    if isinstance(train, TextSplit) and train.books.rendered.rows.kept:
        train.judge_sample()
    has_validation = validation.books.rendered.rows.came_in > 0
    ledger = [*rows.ledger(), *train.ledger()]
    ledger += validation.ledger() if has_validation else []
    check_ledger(ledger)
    return Prepared(
        train=train.counts(),
        validation=validation.counts() if has_validation else None,
        unused_fields=dict(sorted(unused.items())),
        cleaning=cleaner.counts(),
        leaks=leaks,
        ledger=ledger,
        sources=rows.mixture.counts(open_training(folder)),
        tokenization="on_the_fly" if job.later else "cached",
    )


def _noting_in(dropped: DroppedRows) -> Callable[[Row, str, Dropped], None]:
    """Write what cleaning leaves out into the list of all rows that went."""

    def note(row: Row, name: str, why: Dropped) -> None:
        dropped.write("cleaned", f"{name}: {why.reason}", row.origin, score=why.score)

    return note


class _Progress:
    """Tells how much of the files' bytes is done, a hundred times at most.

    What a packed file unpacks to is guessed: where it is more, nothing is told from then until the end.
    """

    def __init__(self, job: Job) -> None:
        self._listener = job.listener
        files = {*job.sources.train, *job.sources.validation}
        self._total = sum(map(guess_unpacked_bytes, files))
        self._done = self._rows = 0
        self._next = self._total // 100

    def count(self, row: Row) -> None:
        self._done += count_characters(row)
        self._rows += 1
        if self._next <= self._done < self._total:
            self._next = self._done + self._total // 100
            self._listener.progress("prepare", self._done, self._total, count_of(self._rows, "row"))

    def end(self) -> None:
        self._listener.progress("prepare", self._total, self._total, count_of(self._rows, "row"))
