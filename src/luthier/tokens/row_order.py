"""Which rows make which micro-batch of which step, worked out from the seed alone.

Row k of an epoch is permutation(seed, epoch)[k]. With the rows dial a step takes the next `rows_per_step` rows and packs them;
with the tokens dial, rows are packed inside windows of the order and a step takes the next packs; bucketed, rows of like length
are put together inside such windows (windows.py). Either way the content of step s depends on (seed, s) only, so that a resumed
run slices instead of replaying; and no step asks for the length of a row beyond its window, so that rows may be tokenized as the
order reaches them.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from luthier.config.recipe import Recipe
from luthier.floor.errors import UnhealthyError
from luthier.tokens.lengths import Lengths, Numbers
from luthier.tokens.order import permutation
from luthier.tokens.pack import pack_rows
from luthier.tokens.windows import BatchWindows, PackWindows

# Part of the identity of a run that takes windows: raise it when the same lengths and settings shall give other steps.
ORDER_VERSION = 2


def takes_windows(recipe: Recipe) -> bool:
    """Whether rows are put together in windows of the order, and not as they come."""
    return not recipe.rows_per_step() or recipe.train.padding == "bucketed"


@dataclass(frozen=True)
class Step:
    """The rows of one optimizer step, as micro-batches of row numbers."""

    epoch: int
    micro_batches: list[list[int]]
    ends_epoch: bool


class RowOrder:
    """The steps of a run. Raises UnhealthyError (train-empty) if there is nothing to train.

    Where the lengths are not known (rows tokenized on the fly) and a step takes tokens, `train.most_steps` alone says how many
    steps there are: the recipe refuses to go without it.
    """

    def __init__(self, lengths: Lengths, recipe: Recipe) -> None:
        self._lengths = lengths
        self._seed = recipe.train.seed
        self._epochs = recipe.train.epochs
        self._rows_per_step = recipe.rows_per_step()
        self._pack_tokens = recipe.pack_tokens()
        self._packing = recipe.train.packing
        self._is_bucketed = recipe.train.padding == "bucketed"
        self._batch_size = recipe.train.batch_size
        self._batches_per_step = recipe.train.gradient_accumulation_steps
        self._packs_per_step = max(1, round(recipe.train.tokens_per_step / self._pack_tokens))
        if lengths.rows == 0:
            raise UnhealthyError(
                "train-empty", "there is no row to train on", fix="Look at the data: luthier prepare RECIPE"
            )
        self._most_rows_in_pack = self._rows_per_step
        self.total_steps = recipe.train.most_steps
        if self.can_count_steps:
            planned = self._planned_steps(recipe.train.epochs)
            self.total_steps = min(planned, recipe.train.most_steps or planned)

    @property
    def can_count_steps(self) -> bool:
        """Whether the steps of an epoch can be told before its rows are reached."""
        return bool(self._rows_per_step) or self._lengths.are_known

    @property
    def lengths_are_known(self) -> bool:
        """Whether any step can be looked at without work."""
        return self._lengths.are_known

    def _planned_steps(self, epochs: float) -> int:
        """Steps of so many epochs, a last part of an epoch rounded up to a whole step (as Hugging Face does)."""
        whole = math.floor(epochs)
        steps = sum(self._steps_of_epoch(epoch) for epoch in range(whole))
        return steps + (math.ceil((epochs - whole) * self._steps_of_epoch(whole)) if epochs > whole else 0)

    @lru_cache(maxsize=1024)  # noqa: B019  (one order a run)
    def _steps_of_epoch(self, epoch: int) -> int:
        if self._rows_per_step:
            return math.ceil(self._lengths.rows / self._rows_per_step)
        packs = self._packs(epoch)
        steps = math.ceil(packs.total() / self._packs_per_step)
        self._most_rows_in_pack = max(self._most_rows_in_pack, packs.most_rows)
        return steps

    def most_rows_in_pack(self) -> int:
        """Rows of the fullest pack of the run; with the rows dial those of a step, which none can pass.

        Where lengths are not known, those of the first window: a later pack may hold more.
        """
        if not self.can_count_steps:
            self._packs(0).groups(0, 1)
            return self._packs(0).most_rows
        return self._most_rows_in_pack

    def most_tokens_in_pack(self) -> int:
        """Tokens of the fullest micro-batch of the whole run."""
        return max(
            int(self._lengths.along(np.asarray(rows), 0, len(rows)).sum())
            for number in range(self.total_steps)
            for rows in self.step(number).micro_batches
        )

    def step(self, number: int) -> Step:
        """The rows of step `number`, counted from 0.

        Raises UnhealthyError (train-empty) if the rows end before, or if nothing of the step's rows is left to learn from.
        """
        epoch, first = self._place_of(number)
        if self._rows_per_step:
            groups = self._groups_of_rows(epoch, first)
            is_last = first + 1 == self._steps_of_epoch(epoch)
        else:
            start, stop = first * self._packs_per_step, (first + 1) * self._packs_per_step
            groups = self._packs(epoch).groups(start, stop + 1)
            is_last = len(groups) <= self._packs_per_step
            groups = groups[: self._packs_per_step]
        micro_batches = [rows for rows in groups if rows]
        if not micro_batches:
            raise _nothing_in(number)
        return Step(epoch, micro_batches, is_last)

    def _place_of(self, number: int) -> tuple[int, int]:
        """The epoch of a step, and which of its steps it is."""
        epoch, first = 0, number
        while not self._has_step(epoch, first):
            first -= self._steps_of_epoch(epoch)
            epoch += 1
            if epoch >= self._epochs and not self.can_count_steps:
                raise self._out_of_rows(number)
        return epoch, first

    def _has_step(self, epoch: int, first: int) -> bool:
        if self.can_count_steps:
            return first < self._steps_of_epoch(epoch)
        start = first * self._packs_per_step
        return bool(self._packs(epoch).groups(start, start + 1))

    def _groups_of_rows(self, epoch: int, first: int) -> list[list[int]]:
        """The micro-batches of a step that takes rows."""
        if self._is_bucketed:
            start = first * self._batches_per_step
            return self._batches(epoch).groups(start, start + self._batches_per_step)
        start = first * self._rows_per_step
        stop = min(start + self._rows_per_step, self._lengths.rows)
        lengths_S = self._lengths.along(self._order(epoch), start, stop)
        rows_S = self._order(epoch)[start:stop][lengths_S > 0]
        if self._packing:
            packs = pack_rows(lengths_S[lengths_S > 0].tolist(), pack_tokens=self._pack_tokens)
            return [rows_S[pack].tolist() for pack in packs]
        return [rows_S[at : at + self._batch_size].tolist() for at in range(0, len(rows_S), self._batch_size)]

    def epoch_at(self, steps_done: int) -> float:
        """How many epochs are done after so many steps.

        Where the steps of an epoch are not known before its end, the share of its windows that are done counts instead.
        """
        if not steps_done:
            return 0.0
        epoch, first = self._place_of(steps_done - 1)
        if self.can_count_steps:
            return epoch + (first + 1) / self._steps_of_epoch(epoch)
        return epoch + self._packs(epoch).share_before((first + 1) * self._packs_per_step)

    def reached(self, steps_done: int) -> np.ndarray:
        """Of each row, whether the first so many steps hold it; rows of which nothing was left are held by none."""
        is_reached_N = np.zeros(self._lengths.rows, dtype=bool)
        for number in range(steps_done):
            step = self.step(number)
            if step.epoch:
                break
            for rows in step.micro_batches:
                is_reached_N[rows] = True
        return is_reached_N

    @lru_cache(maxsize=2)  # noqa: B019  (one order a run, two epochs of it)
    def _order(self, epoch: int) -> Numbers:
        return permutation(self._lengths.rows, seed=self._seed, epoch=epoch)

    @lru_cache(maxsize=2)  # noqa: B019
    def _packs(self, epoch: int) -> PackWindows:
        return PackWindows(
            self._lengths, self._order(epoch), pack_tokens=self._pack_tokens, seed=self._seed, epoch=epoch
        )

    @lru_cache(maxsize=2)  # noqa: B019
    def _batches(self, epoch: int) -> BatchWindows:
        return BatchWindows(
            self._lengths, self._order(epoch), batch_size=self._batch_size, seed=self._seed, epoch=epoch
        )

    def _out_of_rows(self, number: int) -> UnhealthyError:
        return UnhealthyError(
            "train-empty",
            f"the rows of {self._epochs:g} epochs end after {number} steps, and train.most_steps is {self.total_steps}",
            where="train.most_steps",
            why="The learning rate was planned for all of those steps.",
            fix="Go on with more passes over the rows: luthier train --resume RUN train.epochs=...; "
            f"or train anew with train.most_steps={number}.",
        )


def _nothing_in(number: int) -> UnhealthyError:
    return UnhealthyError(
        "train-empty",
        f"nothing is left to learn from the rows of step {number + 1}: all of them were left out when they were tokenized",
        where="data.tokenization",
        fix="Take more rows to a step (train.batch_size), or leave them out before steps are made: data.tokenization=cached.",
    )
