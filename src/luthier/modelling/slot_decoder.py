"""Prompts answered in slots: which row sits where, when the room changes, and how many steps go by before anyone looks.

For models whose every layer sees every token. On CUDA the slots keep their number and size, so that one recorded step serves them
all; elsewhere rows are kept together in the first slots, since there every row and column of a step costs time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from luthier.floor.log import Listener
from luthier.modelling.row_cache import PrefixPass
from luthier.modelling.slots import Slots

# Making room and closing gaps copy the cache, once for many steps: between an eighth and a half the time hardly differs.
LEAVING_SHARE = 0.25
# Room for columns grows by half when it is used up, since most answers end long before their limit.
GROWTH = 1.5
LEAST_ROOM = 32
# The mask of a recorded step has rows of whole multiples: CUDA's fused kernel would copy it at every layer otherwise.
COLUMNS_TOGETHER = 64
# Recording takes the time of about three steps launched kernel by kernel.
LEAST_STEPS_TO_RECORD = 8
# A look waits for the device, and a row that has ended sits idle until somebody looks.
STEPS_BETWEEN_LOOKS = {"cuda": 4}
# Tokens of prompts read in one pass: enough to fill a GPU, with less memory than a training step of as many.
READ_TOGETHER = {"cuda": 16384, "cpu": 2048}
# A shorter common beginning is read again in every prompt: that is cheaper than a pass of its own.
LEAST_PREFIX = 64


@dataclass(frozen=True)
class Limits:
    """What ends an answer, and whether its steps may be recorded."""

    stop_ids: Sequence[int]
    most_new_tokens: int
    records: bool = True


@dataclass
class SlotRow:
    """A row in a slot."""

    index: int
    prompt_tokens: int
    answered: int = 1
    """Tokens of its answer, or more if it has ended since the last look."""


class SlotDecoder:
    """Answers prompts in slots; rows may join whenever there is room."""

    can_join = True

    def __init__(
        self, model: nn.Module, limits: Limits, *, prefix: Sequence[int] = (), listener: Listener
    ) -> None:
        self.slots = Slots(model, stop_ids=limits.stop_ids, most_new_tokens=limits.most_new_tokens)
        self.rows: list[SlotRow | None] = []
        """The row in each slot in use; None in a gap between rows."""
        self._kind = self.slots.device.type
        self._most_new_tokens = limits.most_new_tokens
        is_worth_it = limits.records and limits.most_new_tokens > LEAST_STEPS_TO_RECORD
        self._records = self.slots.can_record and is_worth_it
        self._is_recorded = False
        self._listener = listener
        self._prefix = prefix
        """What all prompts begin with, to be read once."""
        self._read_prefix: PrefixPass | None = None

    @property
    def prompt_lengths(self) -> list[int]:
        return [row.prompt_tokens for row in self._active()]

    def most_rows(self, rows: int) -> int:
        # Only twice the rows are worth another recording.
        slots = self.slots.cache.slots
        return min(rows, slots) if self._is_recorded and rows < 2 * slots else rows

    def _active(self) -> list[SlotRow]:
        return [row for row in self.rows if row is not None]

    def start(self, indices: Sequence[int], prompts: Sequence[Sequence[int]]) -> None:
        """Take prompts in, under numbers by which their answers will be told."""
        free = [slot for slot, row in enumerate(self.rows) if row is None]
        free += range(len(self.rows), len(self.rows) + len(prompts) - len(free))
        taken = free[: len(prompts)]
        self.rows += [None] * (max(taken) + 1 - len(self.rows))
        for slot, index, prompt in zip(taken, indices, prompts, strict=True):
            self.rows[slot] = SlotRow(index, len(prompt))
        self._make_room()
        for first, last in self._passes(prompts):
            self._read(prompts[first:last], taken[first:last])
        if self._records and not self._is_recorded:
            self._record()

    def advance(self) -> list[tuple[int, list[int]]]:
        """A few steps; returns the answers that have ended, each with the number of its prompt."""
        self._close_gaps()
        unfinished = self._most_new_tokens - min(row.answered for row in self._active())
        for _ in range(min(STEPS_BETWEEN_LOOKS.get(self._kind, 1), unfinished)):
            self._step()
        ended = [
            slot
            for slot, has_ended in enumerate(self.slots.ended(len(self.rows)))
            if has_ended and self.rows[slot] is not None
        ]
        return self._let_go(ended) if self._is_time_to_leave(len(ended)) else []

    def close(self) -> None:
        """Give the memory back."""
        self.slots.close()

    def _step(self) -> None:
        longest = max(row.prompt_tokens + row.answered for row in self._active())
        if longest > self.slots.cache.columns:
            self.slots.resize(len(self.rows), self._with_growth(longest))
        self.slots.step(len(self.rows), longest)
        for row in self._active():
            row.answered = min(row.answered + 1, self._most_new_tokens)

    def _is_time_to_leave(self, ended: int) -> bool:
        return ended >= max(1.0, LEAVING_SHARE * len(self._active()))

    def _let_go(self, ended: Sequence[int]) -> list[tuple[int, list[int]]]:
        if not ended:
            return []
        finished = []
        for slot, answer in zip(ended, self.slots.answers(ended), strict=True):
            row = self.rows[slot]
            assert row is not None, "what has ended was a row"
            finished.append((row.index, answer))
            self.rows[slot] = None
        return finished

    def _close_gaps(self) -> None:
        """Keep rows together in the first slots, once nobody waits for the gaps."""
        staying = len(self._active())
        gaps = [slot for slot in range(staying) if self.rows[slot] is None]
        behind = [slot for slot in range(staying, len(self.rows)) if self.rows[slot] is not None]
        if self._is_recorded or len(self.rows) == staying:
            return
        if gaps:
            longest = max(row.prompt_tokens + row.answered for row in self._active())
            self.slots.move(behind, gaps, min(longest, self.slots.cache.columns))
            for source, target in zip(behind, gaps, strict=True):
                self.rows[target] = self.rows[source]
        del self.rows[staying:]

    def _make_room(self) -> None:
        """See that all rows fit their slots, with the columns they need now, or ever if steps are recorded."""
        cache = self.slots.cache
        longest = max(row.prompt_tokens + row.answered for row in self._active())
        if self._records:
            longest = max(row.prompt_tokens for row in self._active()) + self._most_new_tokens
        if len(self.rows) <= cache.slots and longest <= cache.columns:
            return
        self._is_recorded = False
        if self._records:
            columns = -(-longest // COLUMNS_TOGETHER) * COLUMNS_TOGETHER
            self.slots.resize(len(self.rows), columns)
        else:
            self.slots.resize(len(self.rows), self._with_growth(longest))

    def _with_growth(self, columns: int) -> int:
        """Columns for a while to come, and never more than the rows may need."""
        most = max(row.prompt_tokens for row in self._active()) + self._most_new_tokens
        return min(max(int(columns * GROWTH), columns + LEAST_ROOM), most)

    def _passes(self, prompts: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
        """Cuts prompts into passes of so many tokens; a longer prompt is a pass of its own."""
        most = READ_TOGETHER.get(self._kind, READ_TOGETHER["cpu"])
        passes, first = [], 0
        for place in range(1, len(prompts) + 1):
            # Behind a prefix, prompts lie beside one another and are padded to the longest.
            rest = prompts[first : place + 1]
            tokens = sum(map(len, rest))
            if self._prefix:
                tokens = len(rest) * (max(map(len, rest)) - len(self._prefix))
            if place == len(prompts) or tokens > most:
                passes.append((first, place))
                first = place
        return passes

    def _read(self, prompts: Sequence[Sequence[int]], slots: Sequence[int]) -> None:
        if not self._prefix:
            self.slots.read_prompts(prompts, slots)
            return
        if self._read_prefix is None:
            self._read_prefix = self.slots.read_prefix(self._prefix)
        suffixes = [prompt[len(self._prefix) :] for prompt in prompts]
        self.slots.read_suffixes(self._read_prefix, suffixes, slots)

    def _record(self) -> None:
        """Record the step of all slots; where that cannot be, steps are launched kernel by kernel from here on."""
        try:
            self.slots.record_step()
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError as fault:
            self._records = False
            self._listener.warn(
                f"each step of the answers is launched kernel by kernel, which is slower: {str(fault).splitlines()[0]}"
            )
        else:
            self._is_recorded = True


def shared_prefix(prompts: Sequence[Sequence[int]]) -> Sequence[int]:
    """What all prompts begin with, if it is long enough to be read apart; something follows it in every prompt."""
    if len(prompts) < 2:
        return ()
    # What the first and the last in order share, all between them share.
    first, last = min(prompts, key=list), max(prompts, key=list)
    most = min(map(len, prompts)) - 1
    tokens = next((place for place in range(most) if first[place] != last[place]), most)
    return first[:tokens] if tokens >= LEAST_PREFIX else ()
