"""One split on its way into its token store: rows gathered into blocks, rendered, fitted, written and booked."""

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from luthier.encoding.books import CONTROL_TEXT, PADDING, Books, Loss, sort_out_empty
from luthier.encoding.costs import CAN_SPLIT, Costs
from luthier.encoding.dropped import DroppedRows
from luthier.encoding.limit import FittedBlock, applied_policy, fit_block, note_too_long
from luthier.reports.data import SplitCounts
from luthier.reports.ledger import SplitName, Stage, StageBooks
from luthier.text.problems import Problems
from luthier.text.rows import Row
from luthier.tokens.store import StoreWriter, TokenStore

if TYPE_CHECKING:
    from luthier.data.write import Job
    from luthier.text.render import RenderedBlock

# Encodings take about 100 bytes a token while a block is in hand: 1 Mi characters are some 300 k tokens, 30 MB.
BLOCK_CHARACTERS = 2**20
BLOCK_ROWS = 4096
INTERRUPTED = (
    "the preparation of the data was interrupted; of what it had tokenized, all but the first seconds is kept"
)


class SplitStore:
    """A buffer of rows, the books, the writer. Holds a block of rows a core, however large the data is."""

    def __init__(self, job: "Job", folder: Path, name: SplitName, dropped: DroppedRows) -> None:
        self.books = Books()
        self._job = job
        self._name: SplitName = name
        self._folder = folder / name
        self._dropped = dropped
        self._writer = StoreWriter(self._folder, vocabulary_size=job.vocabulary_size, is_synced=False)
        self._rows: list[Row] = []
        self._characters = 0
        self._waiting: deque[tuple[list[Row], Callable[[], RenderedBlock]]] = deque()
        self._too_long = Problems()
        self.costs = Costs(job.config.max_length, may_split=job.sources.kind in CAN_SPLIT)

    def __enter__(self) -> Self:
        self._writer.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._writer.__exit__(*exception)  # type: ignore[arg-type]

    def add(self, row: Row) -> None:
        """Take a row; a full block is begun, and the oldest written once there are enough of them."""
        self._rows.append(row)
        self._characters += count_characters(row)
        if self._characters >= BLOCK_CHARACTERS or len(self._rows) >= BLOCK_ROWS:
            self._begin_block()
            while len(self._waiting) > self._job.renderer.blocks_at_once:
                self._finish_block()

    def flush(self) -> None:
        """Write what is left. Raises DataError (data-long) if rows are too long and the recipe refuses those, or the cut is large."""
        self._begin_block()
        while self._waiting:
            self._finish_block()
        self._too_long.raise_if_any()
        if self._job.config.overlong == "auto" and self._name == "train":
            self.costs.refuse_if_much_is_lost()

    def counts(self) -> SplitCounts:
        """The books, once the store is written."""
        return self.books.close(TokenStore.open(self._folder).fingerprint)

    def ledger(self) -> list[StageBooks]:
        """The stages that the rows of the split went through."""
        return self.books.ledger(self._name)

    def _begin_block(self) -> None:
        self._job.stop.check(INTERRUPTED, fix="Repeat the command.")
        rows, empty = sort_out_empty(self._rows)
        tally = self.books.rendered
        tally.rows.came_in += len(self._rows)
        for row, reason in empty:
            tally.rows.dropped[reason] += 1
            self._dropped.write("rendered", reason, row.origin, split=self._name)
        self._rows, self._characters = [], 0
        self._waiting.append((rows, self._job.renderer.begin_block(rows)))

    def _finish_block(self) -> None:
        rows, wait = self._waiting.popleft()
        block = wait()
        tally = self.books.rendered
        tally.tokens.came_in += len(block.ids_T)
        tally.trained_tokens.came_in += int(block.trained_T.sum())
        self._book_padding(rows)
        rows, block = self._sort_out_control_text(rows, block)
        tally.rows.kept += len(rows)
        tally.tokens.kept += len(block.ids_T)
        tally.trained_tokens.kept += int(block.trained_T.sum())
        if rows:
            self._fit(rows, block)

    def _book_padding(self, rows: list[Row]) -> None:
        """Rows that came as tokens may have come padded."""
        for number, row in enumerate(rows):
            if row.tokens is not None and row.tokens.padding:
                loss = Loss(number, PADDING, row.tokens.padding, 0, is_row_kept=True)
                self.books.rendered.tokens.came_in += loss.tokens
                self.books.rendered.drop(loss)
                self._note("rendered", rows, loss)

    def _sort_out_control_text(
        self, rows: list[Row], block: "RenderedBlock"
    ) -> tuple[list[Row], "RenderedBlock"]:
        """In a rendered conversation a spelt control token would be one; elsewhere it was encoded as plain text."""
        spelt_N = block.has_control_text_N
        if not self._job.is_chat or not spelt_N.any():
            return rows, block
        starts_N = np.cumsum(block.lengths_N) - block.lengths_N
        for number in np.flatnonzero(spelt_N).tolist():
            start, length = int(starts_N[number]), int(block.lengths_N[number])
            trained = int(block.trained_T[start : start + length].sum())
            self.books.rendered.drop(Loss(number, CONTROL_TEXT, length, trained, is_row_kept=False))
            self._note("rendered", rows, Loss(number, CONTROL_TEXT, length, trained, is_row_kept=False))
        return [row for row, is_spelt in zip(rows, spelt_N, strict=True) if not is_spelt], block.select(
            ~spelt_N
        )

    def _fit(self, rows: list[Row], block: "RenderedBlock") -> None:
        self.books.longest_row_tokens = max(self.books.longest_row_tokens, int(block.lengths_N.max()))
        self.costs.add(block)
        config, longest = self._job.config, self.books.longest_row_tokens
        if config.overlong == "error":
            note_too_long(self._too_long, rows, block, max_length=config.max_length, longest=longest)
        policy = applied_policy(config.overlong)
        self._keep(rows, block, fit_block(block, max_length=config.max_length, policy=policy))

    def _keep(self, rows: list[Row], block: "RenderedBlock", fitted: FittedBlock) -> None:
        origins = [rows[number].origin for number in fitted.rows_M]
        self._writer.append_block(
            fitted.ids_T, fitted.trained_T, fitted.lengths_M, origins, lost_N2=fitted.lost_M2
        )
        tally = self.books.fitted
        tally.rows.came_in += len(rows)
        tally.rows.added += fitted.rows_added
        tally.rows.kept += len(origins)
        tally.tokens.came_in += len(block.ids_T)
        tally.tokens.kept += len(fitted.ids_T)
        tally.trained_tokens.came_in += int(block.trained_T.sum())
        tally.trained_tokens.kept += int(fitted.trained_T.sum())
        self.books.rows_truncated += fitted.rows_truncated
        for loss in fitted.losses:
            tally.drop(loss)
            self._note("fitted", rows, loss)

    def _note(self, stage: Stage, rows: list[Row], loss: Loss) -> None:
        self._dropped.write(
            stage,
            loss.reason,
            rows[loss.row].origin,
            split=self._name,
            is_kept=loss.is_row_kept,
            tokens=loss.tokens,
            trained_tokens=loss.trained_tokens,
        )


def count_characters(row: Row) -> int:
    """How long the texts of a row are; a token counts as four characters, about what it spells and what it takes."""
    if row.tokens is not None:
        return len(row.tokens.ids)
    return sum(map(len, row.texts()))
