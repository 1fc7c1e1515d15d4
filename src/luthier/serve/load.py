"""Send a server requests at times that do not hang on its answers, and time them: an open loop.

Clients that ask again only once they are answered ask less of a slow server, and so hide how long people would have waited
(G. Tene's "coordinated omission"). Here the times are drawn beforehand as a Poisson process, and waiting counts from there.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from luthier.floor.stop import StopFlag
from luthier.serve.events import EventReader

if TYPE_CHECKING:
    import httpx

Messages = Sequence[dict[str, Any]]
# A generator that has so many answers outstanding is no longer the one that waits: the server is far beyond what it can do.
MOST_OPEN = 2000
TICK_S = 0.25
MOST_IDLE = 256
CONNECT_S = 10.0


@dataclass(frozen=True)
class Load:
    """What is sent: conversations in turn, a new one every `1 / rate_per_s` seconds on average for so long."""

    model: str
    prompts: Sequence[Messages]
    rate_per_s: float
    seconds: float
    most_new_tokens: int
    temperature: float = 0.0
    seed: int = 0
    timeout_s: float = 60.0

    def due_times_s(self) -> list[float]:
        """When each request is due, from the start: exponential gaps of the seed."""
        chance, at_s, due = random.Random(self.seed), 0.0, list[float]()
        while (at_s := at_s + chance.expovariate(self.rate_per_s)) < self.seconds:
            due.append(at_s)
        return due


@dataclass
class Outcome:
    """How one request ended. Times are seconds from the start of the load; those of `due_s` were fixed before it."""

    due_s: float
    sent_s: float = 0.0
    first_token_s: float | None = None
    last_token_s: float | None = None
    ended_s: float = 0.0
    status: int | None = None
    """None if nobody answered."""
    failure: str = ""
    """Why there is no whole answer; empty if there is one."""
    prompt_tokens: int = 0
    new_tokens: int = 0
    pieces: int = field(default=0, repr=False)

    @property
    def is_answered(self) -> bool:
        return not self.failure


async def send_load(
    url: str,
    key: str | None,
    load: Load,
    *,
    on_tick: Callable[[Sequence[Outcome], int], None],
    stop: StopFlag,
) -> list[Outcome]:
    """Send the whole load to `url` (which ends in /v1), wait for every answer, and give what came of each, in the order sent.

    `on_tick` is called four times a second with what has ended and how many requests there are. A stop ends it early; what is
    under way then is cancelled and left out.
    """
    import httpx

    due = load.due_times_s()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=MOST_IDLE)
    timeout = httpx.Timeout(load.timeout_s, connect=CONNECT_S)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(
        headers=headers, timeout=timeout, limits=limits, trust_env=False, follow_redirects=False
    ) as client:
        sender = _Sender(client, url, load)
        sending = asyncio.create_task(sender.send(due))
        while not sending.done() and not stop.is_set:
            await asyncio.wait([sending], timeout=TICK_S)
            on_tick(sender.ended, len(due))
        if stop.is_set:
            await sender.cancel(sending)
        else:
            await sending
    return [outcome for outcome in sender.sent if outcome.ended_s or outcome.failure]


class _Sender:
    """Sends the requests of one load, and keeps what came of them."""

    def __init__(self, client: "httpx.AsyncClient", url: str, load: Load) -> None:
        self._client, self._url, self._load = client, url, load
        self._started = time.monotonic()
        self._under_way: set[asyncio.Task[None]] = set()
        self.sent: list[Outcome] = []
        self.ended: list[Outcome] = []

    async def send(self, due: Sequence[float]) -> None:
        """Send each request when it is due, and wait for all answers."""
        prompts = self._load.prompts
        for number, due_s in enumerate(due):
            await asyncio.sleep(self._started + due_s - time.monotonic())
            outcome = Outcome(due_s)
            self.sent.append(outcome)
            if len(self._under_way) >= MOST_OPEN:
                outcome.failure = f"not sent: {MOST_OPEN:,} answers outstanding"
                self.ended.append(outcome)
                continue
            task = asyncio.create_task(self._one(outcome, prompts[number % len(prompts)]))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        await asyncio.gather(*self._under_way)

    async def cancel(self, sending: asyncio.Task[None]) -> None:
        """End everything that is under way."""
        tasks = [sending, *self._under_way]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _one(self, outcome: Outcome, prompt: Messages) -> None:
        await _ask(self._client, self._url, self._load, prompt, outcome, self._started)
        self.ended.append(outcome)


async def _ask(
    client: "httpx.AsyncClient", url: str, load: Load, prompt: Messages, outcome: Outcome, started: float
) -> None:
    """Send one request and fill its outcome in; nothing but a cancellation is raised."""
    import httpx

    body = {
        "model": load.model,
        "messages": list(prompt),
        "max_tokens": load.most_new_tokens,
        "temperature": load.temperature,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    outcome.sent_s = time.monotonic() - started
    try:
        async with asyncio.timeout(load.timeout_s):
            async with client.stream("POST", f"{url}/chat/completions", json=body) as response:
                outcome.status = response.status_code
                if response.status_code != 200:
                    outcome.failure = f"status {response.status_code}"
                    return
                outcome.failure = "cut off"
                reader = EventReader()
                async for part in response.aiter_bytes():
                    for event in reader.feed(part):
                        _take(event, outcome, time.monotonic() - started)
    except (TimeoutError, httpx.TimeoutException):
        outcome.failure = f"no whole answer within {load.timeout_s:g} s"
    except httpx.HTTPError as fault:
        outcome.failure = outcome.failure or f"connection: {type(fault).__name__}"
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        outcome.failure = "not in OpenAI's form"
    finally:
        outcome.ended_s = time.monotonic() - started


def _take(event: dict[str, Any], outcome: Outcome, at_s: float) -> None:
    if "error" in event:
        raise ValueError("an error in the middle of the stream")
    if usage := event.get("usage"):
        outcome.prompt_tokens, outcome.new_tokens = usage["prompt_tokens"], usage["completion_tokens"]
    for choice in event["choices"][:1]:
        if choice["delta"].get("content"):
            outcome.first_token_s = outcome.first_token_s or at_s
            outcome.last_token_s = at_s
            outcome.pieces += 1
        if choice.get("finish_reason"):
            outcome.failure = ""
