"""Which rows make which micro-batch of which step, worked out from the seed alone.

Row k of an epoch is permutation(seed, epoch)[k]. With the rows dial a step takes the next `rows_per_step` rows and packs them;
with the tokens dial, rows are packed inside windows of the order and a step takes the next packs; bucketed, rows of like length
are put together inside such windows. Either way the content of step s depends on (seed, s) only, so that a resumed run slices
instead of replaying.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from luthier.config.recipe import Recipe
from luthier.floor.errors import UnhealthyError
from luthier.tokens.order import permutation
from luthier.tokens.pack import pack_rows

# Rows best-fit packing and bucketing may choose among: few enough that neighbours in the order stay near each other.
WINDOW_ROWS = 2048
# The last pack of a window is left half empty on average: 64 make that a loss of 0.8 % (bench/packing/fill.json).
WINDOW_PACKS = 64


@dataclass(frozen=True)
class Step:
    """The rows of one optimizer step, as micro-batches of row numbers."""

    epoch: int
    micro_batches: list[list[int]]
    ends_epoch: bool


class RowOrder:
    """The steps of a run. Raises UnhealthyError (train-empty) if there is nothing to train."""

    def __init__(self, lengths_N: np.ndarray, recipe: Recipe) -> None:
        self._lengths_N = lengths_N
        self._seed = recipe.train.seed
        self._rows_per_step = recipe.rows_per_step()
        self._pack_tokens = recipe.pack_tokens()
        self._packing = recipe.train.packing
        self._is_bucketed = not recipe.train.packing and recipe.train.padding == "bucketed"
        self._batch_size = recipe.train.batch_size
        self._batches_per_step = recipe.train.gradient_accumulation_steps
        self._packs_per_step = max(1, round(recipe.train.tokens_per_step / self._pack_tokens))
        if len(lengths_N) == 0:
            raise UnhealthyError(
                "train-empty", "there is no row to train on", fix="Look at the data: luthier prepare RECIPE"
            )
        self.most_rows_in_pack = self._rows_per_step
        self._steps_by_epoch = self._count_steps(math.ceil(recipe.train.epochs))
        planned = self._planned_steps(recipe.train.epochs)
        self.total_steps = min(planned, recipe.train.most_steps or planned)

    def _count_steps(self, epochs: int) -> list[int]:
        """Steps of each epoch; with the tokens dial every epoch is packed once, which also finds the fullest pack."""
        if self._rows_per_step:
            return [math.ceil(len(self._lengths_N) / self._rows_per_step)] * epochs
        steps = []
        for epoch in range(epochs):
            packs = self._packs_of_epoch(epoch)
            self.most_rows_in_pack = max(self.most_rows_in_pack, max(len(pack) for pack in packs))
            steps.append(math.ceil(len(packs) / self._packs_per_step))
        return steps

    def _planned_steps(self, epochs: float) -> int:
        """Steps of so many epochs, a last part of an epoch rounded up to a whole step (as Hugging Face does)."""
        whole = math.floor(epochs)
        steps = sum(self._steps_by_epoch[:whole])
        return steps + (math.ceil((epochs - whole) * self._steps_by_epoch[whole]) if epochs > whole else 0)

    def most_tokens_in_pack(self) -> int:
        """Tokens of the fullest micro-batch of the whole run."""
        return max(
            sum(int(self._lengths_N[row]) for row in rows)
            for number in range(self.total_steps)
            for rows in self.step(number).micro_batches
        )

    def step(self, number: int) -> Step:
        """The rows of step `number`, counted from 0."""
        epoch, first = 0, number
        while first >= self._steps_by_epoch[epoch]:
            first -= self._steps_by_epoch[epoch]
            epoch += 1
        ends_epoch = first + 1 == self._steps_by_epoch[epoch]
        if not self._rows_per_step:
            packs = self._packs_of_epoch(epoch)
            return Step(
                epoch, packs[first * self._packs_per_step : (first + 1) * self._packs_per_step], ends_epoch
            )
        if self._is_bucketed:
            batches = self._batches_of_epoch(epoch)
            return Step(
                epoch,
                batches[first * self._batches_per_step : (first + 1) * self._batches_per_step],
                ends_epoch,
            )
        rows = self._order(epoch)[first * self._rows_per_step : (first + 1) * self._rows_per_step]
        if self._packing:
            packs = pack_rows([int(self._lengths_N[row]) for row in rows], pack_tokens=self._pack_tokens)
            return Step(epoch, [[int(rows[index]) for index in pack] for pack in packs], ends_epoch)
        chunks = [
            rows[start : start + self._batch_size].tolist() for start in range(0, len(rows), self._batch_size)
        ]
        return Step(epoch, chunks, ends_epoch)

    def epoch_at(self, steps_done: int) -> float:
        """How many epochs are done after so many steps."""
        epoch = 0
        while epoch < len(self._steps_by_epoch) and steps_done >= self._steps_by_epoch[epoch]:
            steps_done -= self._steps_by_epoch[epoch]
            epoch += 1
        return epoch + (steps_done / self._steps_by_epoch[epoch] if steps_done else 0)

    @lru_cache(maxsize=2)  # noqa: B019  (one order a run, two epochs of it)
    def _order(self, epoch: int) -> np.ndarray:
        return permutation(len(self._lengths_N), seed=self._seed, epoch=epoch)

    @lru_cache(maxsize=2)  # noqa: B019
    def _packs_of_epoch(self, epoch: int) -> list[list[int]]:
        order = self._order(epoch)
        packs: list[list[int]] = []
        for window in self._windows(order):
            lengths = [int(length) for length in self._lengths_N[window]]
            packs += [
                [int(window[index]) for index in pack]
                for pack in pack_rows(lengths, pack_tokens=self._pack_tokens)
            ]
        # The last packs of a window are the emptiest; without a second shuffle they would meet in the same steps.
        return [packs[index] for index in permutation(len(packs), seed=self._seed, epoch=epoch)]

    def _windows(self, order: np.ndarray) -> Iterator[np.ndarray]:
        """The order cut into stretches of so many rows, or more where those do not fill so many packs."""
        ends = np.cumsum(self._lengths_N[order], dtype=np.int64)
        start = 0
        while start < len(order):
            before = int(ends[start - 1]) if start else 0
            filled = int(np.searchsorted(ends, before + WINDOW_PACKS * self._pack_tokens))
            stop = max(start + WINDOW_ROWS, filled)
            yield order[start:stop]
            start = stop

    @lru_cache(maxsize=2)  # noqa: B019
    def _batches_of_epoch(self, epoch: int) -> list[list[int]]:
        """Micro-batches of rows of like length; only the last one of the epoch may hold fewer rows."""
        order = self._order(epoch)
        # Whole micro-batches a window, so that no window but the last leaves a smaller one.
        window_rows = max(1, WINDOW_ROWS // self._batch_size) * self._batch_size
        batches: list[list[int]] = []
        for start in range(0, len(order), window_rows):
            window = order[start : start + window_rows]
            by_length = window[np.argsort(self._lengths_N[window], kind="stable")]
            batches += [
                by_length[first : first + self._batch_size].tolist()
                for first in range(0, len(by_length), self._batch_size)
            ]
        # Ascending lengths would be a curriculum that nobody asked for.
        return [batches[index] for index in permutation(len(batches), seed=self._seed, epoch=epoch)]
