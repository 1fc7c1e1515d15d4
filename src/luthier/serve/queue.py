"""Who waits for the engine: first come, first served, at most so many, and none for longer than it may.

The engine works on a fixed number of choices at once; a request with several enters when all of them fit.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from luthier.serve.refusal import busy

# How much the newest request counts in the mean time of one, by which Retry-After is guessed.
NEWEST_SHARE = 0.1
LONGEST_RETRY_S = 60


@dataclass(eq=False)
class _Waiting:
    rows: int
    turn: asyncio.Future[None]


class Queue:
    """A bounded queue before an engine that takes `most_rows` choices at once."""

    def __init__(self, *, most_rows: int, most_waiting: int, wait_s: float) -> None:
        self.most_rows, self.most_waiting = most_rows, most_waiting
        self.running_rows = 0
        self.running = 0
        self._wait_s = wait_s
        self._waiting: deque[_Waiting] = deque()
        self._mean_s = 1.0

    @property
    def waiting(self) -> int:
        """Requests that wait now."""
        return len(self._waiting)

    @asynccontextmanager
    async def turn(self, rows: int) -> AsyncIterator[None]:
        """Inside, so many choices of the engine are this request's.

        Raises Refusal (503 api-busy) if the queue is full or the turn does not come in time.
        """
        assert 0 < rows <= self.most_rows, (
            "the server refuses requests with more choices than the engine takes"
        )
        await self._enter(rows)
        started = time.monotonic()
        try:
            yield
        finally:
            self.running_rows -= rows
            self.running -= 1
            self._mean_s += NEWEST_SHARE * (time.monotonic() - started - self._mean_s)
            self._admit()

    async def _enter(self, rows: int) -> None:
        if not self._waiting and self.running_rows + rows <= self.most_rows:
            self._start(rows)
            return
        if len(self._waiting) >= self.most_waiting:
            raise busy(f"{len(self._waiting)} requests wait already", retry_after_s=self._retry_after_s())
        entry = _Waiting(rows, asyncio.get_running_loop().create_future())
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(self._wait_s):
                await entry.turn
        except TimeoutError as fault:
            self._withdraw(entry)
            raise busy(
                f"the request waited {self._wait_s:g} s for its turn", retry_after_s=self._retry_after_s()
            ) from fault
        except asyncio.CancelledError:
            self._withdraw(entry)
            raise

    def _start(self, rows: int) -> None:
        self.running_rows += rows
        self.running += 1

    def _withdraw(self, entry: _Waiting) -> None:
        if entry in self._waiting:
            self._waiting.remove(entry)
        elif entry.turn.done() and not entry.turn.cancelled():
            # Its turn came in the very moment in which it gave up.
            self.running_rows -= entry.rows
            self.running -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self.running_rows + self._waiting[0].rows <= self.most_rows:
            entry = self._waiting.popleft()
            if not entry.turn.done():
                self._start(entry.rows)
                entry.turn.set_result(None)

    def _retry_after_s(self) -> int:
        ahead = self.running + len(self._waiting)
        return min(LONGEST_RETRY_S, max(1, round(self._mean_s * ahead / self.most_rows)))
