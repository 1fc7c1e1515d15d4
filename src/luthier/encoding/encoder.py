"""Rows of a text store become rows of tokens that fit, by their numbers: what preparation does to all rows, as training needs it.

The masks are derived twice and held against each other by the same code as in a preparation; a row that is refused is refused
with the same words. Axes: N rows asked for, M of them kept, T tokens end to end, R numbers of a record.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from luthier.config.data import DataConfig
from luthier.encoding.costs import Costs
from luthier.encoding.ids import check_largest_id
from luthier.encoding.limit import applied_policy, fit_block, note_too_long
from luthier.encoding.outcomes import IS_KEPT, KEPT, KEPT_TRAINED, STATE, STATE_OF, TOKENS, TRAINED, Records
from luthier.text.problems import Problems
from luthier.text.render import RenderedBlock, Renderer
from luthier.text.row_bytes import row_of
from luthier.tokens.text_store import TextStore

# The share that is lost is judged from so many rows on; a preparation judges as many before it leaves the rows to training.
ROWS_JUDGED = 1000


@dataclass(frozen=True)
class EncodedRows:
    """Some rows, tokenized and cut."""

    rows_N: npt.NDArray[np.int64]
    records_NR: Records
    """What became of each row: the first numbers of a record of outcomes.py."""
    kept: dict[int, tuple[npt.NDArray[np.uint32], npt.NDArray[np.bool_]]]
    """Ids and mask of each row that was kept, by its number."""


class RowEncoder:
    """Encodes rows with one renderer. Not for two threads at once.

    `embeddings` is how many ids the base model knows; None for one that is made for the tokenizer. `judged_from` is the number of
    rows from which the share that is cut off is judged; None leaves it to whoever asks.
    """

    def __init__(
        self,
        texts: TextStore,
        renderer: Renderer,
        data: DataConfig,
        *,
        embeddings: int | None,
        judged_from: int | None = ROWS_JUDGED,
    ) -> None:
        self.texts = texts
        self._renderer = renderer
        self._max_length = data.max_length
        self._overlong = data.overlong
        self._embeddings = embeddings
        self._costs = Costs(data.max_length, may_split=False)
        self._rows = 0
        self._judged_from = None if judged_from is None else min(judged_from, texts.rows)

    def encode(self, rows: Sequence[int]) -> EncodedRows:
        """These rows.

        Raises DataError as a preparation does: for a row that its template refuses, for masks that disagree, for rows that are
        too long where the recipe refuses those, and, by default, where more than 1 % of the trained tokens so far would be cut
        off. Raises ModelError (mdl-tokenizer) for an id that the model does not know.
        """
        texts = [row_of(self.texts.content(row), self.texts.origin(row)) for row in rows]
        block = self._renderer.render_block(texts)
        if self._overlong == "error":
            problems, longest = Problems(), int(block.lengths_N.max())
            note_too_long(problems, texts, block, max_length=self._max_length, longest=longest)
            problems.raise_if_any()
        self._count_costs(block)
        fitted = fit_block(block, max_length=self._max_length, policy=applied_policy(self._overlong))
        check_largest_id(int(fitted.ids_T.max(initial=0)), self._embeddings, where=str(self.texts.folder))
        kept, ends_M = {}, np.cumsum(fitted.lengths_M)
        for index, start, end in zip(fitted.rows_M, ends_M - fitted.lengths_M, ends_M, strict=True):
            kept[rows[index]] = (fitted.ids_T[start:end], fitted.trained_T[start:end])
        records_NR = np.zeros((len(rows), 5), dtype=np.int32)
        records_NR[:, STATE] = IS_KEPT
        records_NR[:, TOKENS] = block.lengths_N
        records_NR[:, TRAINED] = np.add.reduceat(block.trained_T, ends_of(block) - block.lengths_N, dtype=int)
        for loss in fitted.losses:
            if not loss.is_row_kept:
                records_NR[loss.row, STATE] = STATE_OF[loss.reason]
        for index, row in enumerate(rows):
            if row in kept:
                records_NR[index, [KEPT, KEPT_TRAINED]] = len(kept[row][0]), int(kept[row][1].sum())
        return EncodedRows(np.asarray(rows, dtype=np.int64), records_NR, kept)

    def close(self) -> None:
        """End the processes that encode, if there are any."""
        self._renderer.close()

    def judge_costs(self, *, of: str) -> None:
        """Raise DataError (data-long) if the recipe left the choice open and too much of the rows so far would be cut off."""
        if self._overlong == "auto":
            self._costs.refuse_if_much_is_lost(of=of)

    def _count_costs(self, block: RenderedBlock) -> None:
        self._costs.add(block)
        self._rows += len(block.lengths_N)
        if self._judged_from is not None and self._rows >= self._judged_from:
            self.judge_costs(of=f"the {self._rows:,} rows tokenized so far")


def ends_of(block: RenderedBlock) -> npt.NDArray[np.int64]:
    """One past the last token of each row."""
    ends: npt.NDArray[np.int64] = np.cumsum(block.lengths_N)
    return ends
