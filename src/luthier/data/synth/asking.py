"""Ask for every answer that the journal lacks: several at a time, inside a budget, and never twice.

One process, one thread: workers are tasks that wait for the network, so stopping cancels them at once and what was answered is
in the journal already.
"""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from luthier.data.synth.endpoint import Answer, Endpoint, Passing, Refusal
from luthier.data.synth.journal import Journal
from luthier.data.synth.prompts import Message, Prompts
from luthier.data.synth.seeds import Asking
from luthier.data.synth.task import SynthTask
from luthier.floor.errors import EnvironmentFault
from luthier.floor.log import Listener
from luthier.floor.stop import StopFlag
from luthier.floor.units import format_count, format_duration

BYTES_A_TOKEN = 4  # English, over the vocabularies in use; only for what no endpoint counted
# So many prompts in a row without an answer, and it is not the prompts.
MOST_FAILURES_IN_A_ROW = 10
LOOK_EVERY_S = 0.2


@dataclass
class Session:
    """One run of the command: what is to be asked, and what became of it."""

    task: SynthTask
    prompts: Prompts
    journal: Journal
    askings: Iterator[Asking]
    total: int
    settled: int = 0
    """Askings that need nothing more."""
    unanswered: int = 0
    """Askings that were tried and got no answer; they are tried again when the line is repeated."""
    not_asked: int = 0
    """Askings that the budget did not allow."""
    last_problem: str = ""
    requests: int = 0
    _failures_in_a_row: int = 0
    _held_tokens: int = 0
    _started: float = field(default_factory=time.monotonic)
    _settled_before: int = 0

    async def run(self, endpoint: Endpoint, listener: Listener, stop: StopFlag) -> None:
        """Ask until nothing is left, the budget is spent, or someone says stop.

        Raises Interrupted or SavedAndStopped after a signal, EnvironmentFault (env-endpoint) if the endpoint answers nothing.
        """
        workers = [
            asyncio.create_task(self._work(endpoint, listener)) for _ in range(self.task.patience.concurrency)
        ]
        try:
            waiting = set(workers)
            while waiting:
                done, waiting = await asyncio.wait(
                    waiting, timeout=LOOK_EVERY_S, return_when=asyncio.FIRST_EXCEPTION
                )
                for worker in done:
                    worker.result()
                stop.check(
                    f"stopped; {self.journal.answers:,} answers are kept in {self.journal.path}",
                    fix="To go on, type the same line again.",
                )
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)  # the first fault is the one that flies

    async def _work(self, endpoint: Endpoint, listener: Listener) -> None:
        for asking in self.askings:
            if not self.journal.wants(asking.key):
                self.settled += 1
                self._settled_before += 1
                continue
            messages = self.prompts.messages(asking.seed)
            await self._settle(asking, messages, endpoint)
            self._tell(listener)

    async def _settle(self, asking: Asking, messages: list[Message], endpoint: Endpoint) -> None:
        """Ask until an answer passes or there were enough of them."""
        reserve = guess_tokens(messages) + self.task.sampling.answer_tokens
        while self.journal.wants(asking.key):
            while not self._may_spend(reserve) and self._held_tokens:
                await asyncio.sleep(LOOK_EVERY_S)  # answers on their way may take less than was set aside
            if not self._may_spend(reserve):
                self.not_asked += 1
                return
            self._held_tokens += reserve
            try:
                record = await self._ask(asking, messages, endpoint)
            finally:
                self._held_tokens -= reserve
            if record is None:
                self.unanswered += 1
                return
            self.journal.add(record)
        self.settled += 1

    async def _ask(
        self, asking: Asking, messages: list[Message], endpoint: Endpoint
    ) -> dict[str, Any] | None:
        """The journal's line for one request; None if there was no answer to be had."""
        self.requests += 1
        body = {"model": self.task.model, "messages": messages, **self.task.sampling.fields()}
        record: dict[str, Any] = {"key": asking.key, "time": datetime.now(UTC).isoformat(timespec="seconds")}
        try:
            answer = await endpoint.ask(body)
        except Passing as fault:
            self._count_failure(str(fault), endpoint)
            return None
        except Refusal as fault:
            self._count_failure(str(fault), endpoint)
            if (
                not self.journal.answers
            ):  # it may refuse the model or a setting: then it is not the prompt's fault
                return None
            return record | {
                "status": "refused",
                "problem": str(fault),
                "usage": {"prompt_tokens": 0, "completion_tokens": 0},
            }
        self._failures_in_a_row = 0
        return record | {"status": "answered", **answer_fields(answer, messages)}

    def _count_failure(self, what: str, endpoint: Endpoint) -> None:
        self.last_problem = what
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= min(MOST_FAILURES_IN_A_ROW, self.total):
            raise no_answers(endpoint.base, what)

    def _may_spend(self, reserve: int) -> bool:
        most = self.task.most_tokens
        return most is None or self.journal.spent.total + self._held_tokens + reserve <= most

    def _tell(self, listener: Listener) -> None:
        done = self.settled + self.unanswered + self.not_asked
        asked = done - self._settled_before
        spent = self.journal.spent
        tokens = f"{format_count(spent.prompt_tokens)} + {format_count(spent.completion_tokens)} tokens"
        elapsed = time.monotonic() - self._started
        left = (self.total - done) * elapsed / asked if asked else 0.0
        detail = f"{tokens}, {format_duration(left)} left" if done < self.total else tokens
        listener.progress("ask", done, self.total, detail)


def no_answers(address: str, what: str) -> EnvironmentFault:
    """The endpoint has answered nothing for a while."""
    return EnvironmentFault(
        "env-endpoint",
        f"the endpoint gives no answer: {what}",
        where=address,
        why="What was answered before is kept.",
        fix="Look whether it runs and knows the model and the settings; then type the same line again.",
    )


def answer_fields(answer: Answer, messages: list[Message]) -> dict[str, Any]:
    """What the journal keeps of an answer; tokens that nobody counted are guessed, and say so."""
    usage: dict[str, Any] = dict(answer.usage or {})
    if not usage:
        usage = {
            "prompt_tokens": guess_tokens(messages),
            "completion_tokens": guess_tokens([{"content": answer.text}]),
            "is_guess": True,
        }
    return {
        "text": answer.text,
        "finish_reason": answer.finish_reason,
        "refusal": answer.refusal,
        "model": answer.model,
        "usage": usage,
    }


def guess_tokens(messages: list[Message]) -> int:
    """Bytes over four, rounded up: a guess, for budgets and dry runs."""
    return -(-sum(len(message["content"].encode()) for message in messages) // BYTES_A_TOKEN)
