"""The training rows on their way into a text store: what can be judged without tokens is judged and booked, the rest drawn from.

Empty rows and control tokens in conversations go here, as in split_store.py. A sample is tokenized before the rows are left to
training: rows that no template takes, and a cut that would lose much, are for the person to see now and not hours later.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from luthier.encoding.books import CONTROL_TEXT, Books, why_empty
from luthier.encoding.dropped import DroppedRows
from luthier.encoding.encoder import ROWS_JUDGED, RowEncoder
from luthier.encoding.prepared_folder import TEXTS
from luthier.reports.data import SplitCounts
from luthier.reports.ledger import StageBooks
from luthier.text.row_bytes import row_bytes
from luthier.text.rows import Row
from luthier.tokens.order import permutation
from luthier.tokens.text_store import TextStore, TextStoreWriter

if TYPE_CHECKING:
    from luthier.data.write import Job

ROWS_BETWEEN_LOOKS = 2048
# Half a second of tokenizing, two of a template's masks. Of long rows fewer than ROWS_JUDGED are drawn, so that a sample never takes long.
MOST_DRAWN_BYTES = 2**21
ROWS_AT_ONCE = 128
INTERRUPTED = "the preparation of the data was interrupted; nothing of it is kept"


@dataclass(frozen=True)
class ForLater:
    """What rows that are left to training are kept and judged with."""

    made_for: Mapping[str, str | int]
    embeddings: int | None
    """How many ids the base model knows; None for a model that is made for the tokenizer."""


class TextSplit:
    """The books and the writer; holds one row."""

    def __init__(self, job: "Job", later: ForLater, folder: Path, dropped: DroppedRows) -> None:
        self.books = Books()
        self._job = job
        self._later = later
        self._folder = folder / TEXTS
        self._dropped = dropped
        self._writer = TextStoreWriter(self._folder, made_for=later.made_for, is_synced=False)

    def __enter__(self) -> Self:
        self._writer.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._writer.__exit__(*exception)  # type: ignore[arg-type]

    def add(self, row: Row) -> None:
        """Keep a row, or note why it goes."""
        rows = self.books.rendered.rows
        rows.came_in += 1
        if rows.came_in % ROWS_BETWEEN_LOOKS == 0:
            self._job.stop.check(INTERRUPTED, fix="Repeat the command.")
        reason = why_empty(row)
        if not reason and self._job.is_chat and self._job.renderer.spells_control_token(row):
            reason = CONTROL_TEXT
        if reason:
            rows.dropped[reason] += 1
            return self._dropped.write("rendered", reason, row.origin, split="train")
        rows.kept += 1
        return self._writer.append(row_bytes(row), row.origin)

    def flush(self) -> None:
        """Nothing waits."""

    def counts(self) -> SplitCounts:
        """The books, once the store is written: what only tokens tell is left open."""
        tally = self.books.rendered.rows
        return SplitCounts(
            rows_in=tally.came_in,
            rows_kept=tally.kept,
            rows_added_by_splitting=0,
            rows_truncated=None,
            dropped=tally.close().dropped,
            tokens=None,
            trained_tokens=None,
            trained_tokens_lost=None,
            longest_row_tokens=None,
            fingerprint=TextStore.open(self._folder).fingerprint,
        )

    def ledger(self) -> list[StageBooks]:
        """The one stage that is done."""
        return [StageBooks(stage="rendered", split="train", rows=self.books.rendered.rows.close())]

    def judge_sample(self) -> None:
        """Tokenize the rows that training begins with, a thousand at most.

        Raises DataError as training would: for rows that are refused, and where too much of their trained tokens would be lost.
        """
        texts = TextStore.open(self._folder)
        encoder = RowEncoder(
            texts,
            self._job.renderer,
            self._job.config,
            embeddings=self._later.embeddings,
            judged_from=None,
        )
        drawn_N = permutation(texts.rows, seed=self._job.seed, epoch=0)[:ROWS_JUDGED]
        ends_N = np.cumsum(texts.bytes_of(drawn_N))
        drawn = drawn_N[: max(1, int(np.searchsorted(ends_N, MOST_DRAWN_BYTES)))].tolist()
        for start in range(0, len(drawn), ROWS_AT_ONCE):
            self._job.stop.check(INTERRUPTED, fix="Repeat the command.")
            encoder.encode(drawn[start : start + ROWS_AT_ONCE])
            self._job.listener.progress("sample", start, len(drawn), "rows tokenized to judge them")
        if len(drawn) > ROWS_AT_ONCE:
            self._job.listener.progress("sample", len(drawn), len(drawn), "rows tokenized to judge them")
        encoder.judge_costs(of=f"the {len(drawn):,} rows drawn")
