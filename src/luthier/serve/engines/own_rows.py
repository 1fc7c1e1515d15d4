"""Rows of one model under way in Luthier's own generator: from the chosen token to the text that a client gets.

A lane is one model name (the base, or one adapter over it) with a batch of its own; lanes share the weights of the base and take turns.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from luthier.modelling.running_batch import RunningBatch
from luthier.serve.engines.prepare import Preparer
from luthier.serve.engines.sampling import Chooser, Settings, choose, likelihoods
from luthier.serve.engines.spelling import Speller, StopFinder

# One line of a report of a step: handle, text, tokens, facts of tokens, finish reason or None.
Report = list[Any]
Fact = list[Any]


@dataclass
class RowUnderWay:
    """One answer in the making."""

    handle: int
    prompt: list[int]
    most_new_tokens: int
    chooser: Chooser
    speller: Speller
    stops: StopFinder[Fact]
    top: int | None
    """How many alternatives are told of each token; None if no log probabilities are wanted."""
    last: int = -1
    made: int = 0
    is_over: bool = False


@dataclass
class Lane:
    """The rows of one model."""

    name: str
    make_batch: Callable[[], RunningBatch]
    preparer: Preparer
    activate: Callable[[], None]
    """Make the shared weights answer as this model."""
    read_together: int
    """Tokens of prompts that one pass reads."""
    most_rows: float = math.inf
    """Rows that the batch has places for."""
    waiting: deque[RowUnderWay] = field(default_factory=deque)
    rows: list[RowUnderWay] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._batch = self.make_batch()

    @property
    def is_idle(self) -> bool:
        return not self.rows and not self.waiting

    def take(self, order: dict[str, Any]) -> None:
        """Queue the row that an order describes."""
        stops = list(order["stops"])
        if order["is_chat"] and self.preparer.answer_end:
            stops.append(self.preparer.answer_end)
        settings = dict(order["settings"])
        settings["bias"] = {int(token): bias for token, bias in settings.get("bias", {}).items()}
        row = RowUnderWay(
            handle=order["handle"],
            prompt=order["prompt"],
            most_new_tokens=order["most_new_tokens"],
            chooser=Chooser(Settings(**settings)),
            speller=Speller(self.preparer.decode),
            stops=StopFinder(stops),
            top=order["top"],
        )
        self.waiting.append(row)

    def drop(self, handles: set[int]) -> None:
        """Free the slots of rows that nobody waits for any more."""
        self.waiting = deque(row for row in self.waiting if row.handle not in handles)
        for row in self.rows:
            row.is_over = row.is_over or row.handle in handles
        self._let_go()

    def turn(self) -> list[Report]:
        """Read some of the waiting prompts, then one token more for every row."""
        if self.is_idle:
            return []
        self.activate()
        reports = []
        stepping = list(self.rows)
        if stepping:
            reports += self._take(stepping, self._batch.step([row.last for row in stepping]))
        self._let_go()
        joining = self._joining()
        if joining:
            logits_BV = self._batch.join([row.prompt for row in joining])
            self.rows += joining
            reports += self._take(joining, logits_BV)
        self._let_go()
        return reports

    def fail(self) -> list[int]:
        """Give up every row; returns their handles."""
        handles = [row.handle for row in (*self.rows, *self.waiting)]
        self.rows, self.waiting = [], deque()
        self._batch = self.make_batch()
        return handles

    def _joining(self) -> list[RowUnderWay]:
        """As many waiting prompts as one pass may hold; a longer one is a pass of its own, between two steps of the others."""
        joining: list[RowUnderWay] = []
        tokens = 0
        while self.waiting and len(self.rows) + len(joining) < self.most_rows:
            if joining and tokens + len(self.waiting[0].prompt) > self.read_together:
                break
            row = self.waiting.popleft()
            joining.append(row)
            tokens += len(row.prompt)
        return joining

    def _take(self, rows: Sequence[RowUnderWay], logits_BV: Tensor) -> list[Report]:
        tokens = choose(logits_BV, [row.chooser for row in rows])
        places = enumerate(zip(rows, tokens, strict=True))
        return [self._advance(row, token, logits_BV[place]) for place, (row, token) in places]

    def _advance(self, row: RowUnderWay, token: int, logits_V: Tensor) -> Report:
        """Put a token behind the answer and say what of it may go out."""
        row.last, row.made = token, row.made + 1
        if token in self.preparer.stop_ids:
            return self._finish(row, "stop")
        if row.top is not None:
            row.stops.note(self._fact(token, logits_V, row.top))
        text = row.stops.add(row.speller.add(token))
        if row.stops.has_stopped:
            row.is_over = True
            return [row.handle, text, 1, row.stops.take_notes(), "stop"]
        if row.made >= row.most_new_tokens:
            return self._finish(row, "length", text)
        return [row.handle, text, 1, row.stops.take_notes(), None]

    def _finish(self, row: RowUnderWay, reason: str, text: str = "") -> Report:
        row.is_over = True
        text += row.stops.add(row.speller.finish())
        text += row.stops.finish()
        return [row.handle, text, 1, row.stops.take_notes(), "stop" if row.stops.has_stopped else reason]

    def _fact(self, token: int, logits_V: Tensor, top: int) -> Fact:
        logprob, listed = likelihoods(logits_V, token, top)
        spell = self.preparer.spell
        return [spell(token), logprob, [[spell(other), found] for other, found in listed]]

    def _let_go(self) -> None:
        over = [place for place, row in enumerate(self.rows) if row.is_over]
        if over:
            self._batch.leave(over)
            self.rows = [row for row in self.rows if not row.is_over]


def is_memory_fault(fault: RuntimeError) -> bool:
    """Whether torch ran out of memory; on a CPU it says so in a plain RuntimeError."""
    return isinstance(fault, torch.OutOfMemoryError) or "can't allocate memory" in str(fault)
