"""Read rows, render them in blocks and write the two token stores.

Holds one block of rows a split at a time, however large the data is; a block is large enough to keep every core of the
tokenizer busy.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from luthier.config.data import DataConfig
from luthier.data.books import CONTROL_TEXT, Books, sort_out_empty
from luthier.data.cache import Prepared
from luthier.data.clean.cleaner import Cleaner, open_cleaner
from luthier.data.clean.filter import Filter
from luthier.data.limit import FittedBlock, fit_block
from luthier.data.sources import Sources
from luthier.data.split import Splitter
from luthier.floor.log import Listener
from luthier.floor.stop import StopFlag
from luthier.reports.data import SplitCounts
from luthier.text.problems import LineFault, Problems
from luthier.text.render import RenderedBlock, Renderer
from luthier.text.rows import Row, read_rows
from luthier.tokens.store import StoreWriter, TokenStore

# Encodings take about 100 bytes a token while a block is in hand: 1 Mi characters are some 300 k tokens, 30 MB a core.
BLOCK_CHARACTERS_A_CORE = 2**20
MOST_CORES = 16
BLOCK_ROWS = 4096
INTERRUPTED = "the preparation of the data was interrupted; nothing of it was kept"


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
    """Write the stores `train` and, if it has rows, `validation` below `folder`.

    Raises DataError listing the rows that cannot be used, EnvironmentFault if the disk is full.
    """
    unused: Counter[str] = Counter(job.sources.unread_columns)
    with ExitStack() as stack:
        train = stack.enter_context(SplitStore(job, folder / "train"))
        validation = stack.enter_context(SplitStore(job, folder / "validation"))
        cleaner = stack.enter_context(open_cleaner(job.filters, folder, job.stop))
        progress = _Progress(job)
        for row, is_validation in assigned_rows(job, cleaner, unused):
            (validation if is_validation else train).add(row)
            progress.count(row)
        train.flush()
        validation.flush()
        progress.end()
    cleaning = cleaner.counts()
    rows_split = train.books.rows_in + validation.books.rows_in
    assert cleaning is None or cleaning.rows_kept == rows_split, "rows were lost between cleaning and split"
    return Prepared(
        train=train.counts(),
        validation=validation.counts() if validation.books.rows_in else None,
        unused_fields=dict(sorted(unused.items())),
        cleaning=cleaning,
    )


def assigned_rows(job: Job, cleaner: Cleaner, unused: Counter[str]) -> Iterator[tuple[Row, bool]]:
    """Every row that cleaning keeps, as it leaves it, and whether it is for validation."""
    sources = job.sources
    has_own_validation = bool(sources.validation)
    splitter = Splitter(seed=job.seed, fraction=0 if has_own_validation else job.config.validation_fraction)
    for row in cleaner.clean(read_rows(sources.train, sources.kind, unused_fields=unused)):
        yield row, splitter.is_validation(row)
    if has_own_validation:
        for row in cleaner.clean(read_rows(sources.validation, sources.kind, unused_fields=unused)):
            yield row, True


class SplitStore:
    """One split on its way into its store: a buffer of rows, the books, the writer."""

    def __init__(self, job: Job, folder: Path) -> None:
        self.books = Books()
        self._job = job
        self._folder = folder
        self._writer = StoreWriter(folder, vocabulary_size=job.vocabulary_size, is_synced=False)
        self._rows: list[Row] = []
        self._characters = 0
        self._block_characters = BLOCK_CHARACTERS_A_CORE * min(os.cpu_count() or 1, MOST_CORES)
        self._too_long = Problems()

    def __enter__(self) -> Self:
        self._writer.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._writer.__exit__(*exception)  # type: ignore[arg-type]

    def add(self, row: Row) -> None:
        """Take a row; a full block is rendered and written."""
        self._rows.append(row)
        self._characters += count_characters(row)
        if self._characters >= self._block_characters or len(self._rows) >= BLOCK_ROWS:
            self._write_block()

    def flush(self) -> None:
        """Write what is left. Raises DataError (data-long) if rows are too long and the recipe refuses those."""
        self._write_block()
        self._too_long.raise_if_any()

    def counts(self) -> SplitCounts:
        """The books, once the store is written."""
        return self.books.close(TokenStore.open(self._folder).fingerprint)

    def _write_block(self) -> None:
        self._job.stop.check(INTERRUPTED, fix="Repeat the command.")
        rows, reasons = sort_out_empty(self._rows)
        self.books.rows_in += len(self._rows)
        self.books.dropped += reasons
        self._rows, self._characters = [], 0
        block = self._job.renderer.render_block(rows)
        rows, block = self._sort_out_control_text(rows, block)
        if not rows:
            return
        self.books.longest_row_tokens = max(self.books.longest_row_tokens, int(block.lengths_N.max()))
        if self._job.config.overlong == "error":
            self._note_too_long(rows, block)
        policy = "truncate" if self._job.config.overlong == "error" else self._job.config.overlong
        self._keep(rows, block, fit_block(block, max_length=self._job.config.max_length, policy=policy))

    def _sort_out_control_text(
        self, rows: list[Row], block: RenderedBlock
    ) -> tuple[list[Row], RenderedBlock]:
        """In a rendered conversation a spelt control token would be one; elsewhere it was encoded as plain text."""
        spelt_N = block.has_control_text_N
        self.books.rows_with_control_text += int(spelt_N.sum())
        if not self._job.is_chat or not spelt_N.any():
            return rows, block
        self.books.dropped[CONTROL_TEXT] += int(spelt_N.sum())
        self.books.trained_tokens_lost += int(block.trained_T[np.repeat(spelt_N, block.lengths_N)].sum())
        return [row for row, is_spelt in zip(rows, spelt_N, strict=True) if not is_spelt], block.select(
            ~spelt_N
        )

    def _note_too_long(self, rows: list[Row], block: RenderedBlock) -> None:
        limit = self._job.config.max_length
        for number in np.flatnonzero(block.lengths_N > limit):
            what = f"{block.lengths_N[number]} tokens, more than data.max_length {limit}"
            fix = f"Raise data.max_length (at most {self.books.longest_row_tokens} so far), or set data.overlong=truncate."
            self._too_long.add(rows[number].origin, LineFault("data-long", what, fix=fix))

    def _keep(self, rows: list[Row], block: RenderedBlock, fitted: FittedBlock) -> None:
        origins = [rows[number].origin for number in fitted.rows_M]
        self._writer.append_block(
            fitted.ids_T, fitted.trained_T, fitted.lengths_M, origins, lost_N2=fitted.lost_M2
        )
        trained = int(fitted.trained_T.sum())
        self.books.rows_kept += len(origins)
        self.books.rows_added += fitted.rows_added
        self.books.rows_truncated += fitted.rows_truncated
        self.books.dropped += fitted.dropped
        self.books.tokens += len(fitted.ids_T)
        self.books.trained_tokens += trained
        self.books.trained_tokens_lost += int(block.trained_T.sum()) - trained


def count_characters(row: Row) -> int:
    """How long the texts of a row are."""
    return sum(map(len, row.texts()))


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
