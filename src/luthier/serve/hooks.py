"""Where keys, limits, filters, audit, metrics and cache take part in a request; the server knows only these protocols.

The order of a request: `Doorkeeper.admit` (who asks), parsing, `Hook.before` of each hook in order (may refuse), `AnswerCache.find`,
the queue, the engine; each piece of text passes every `OutputGate` in order; `Hook.after` of each hook whose `before` was called, once, whatever
happened, in reverse order. A request that is refused before it is understood is told to `Hook.refused` instead.

All of it runs on the event loop: what takes longer than a millisecond (a guard model, a disk) must be awaited.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from luthier.serve.api import ChatRequest, CompletionRequest

Outcome = Literal["answered", "cached", "refused", "cancelled", "failed"]


@dataclass(frozen=True)
class KeyHolder:
    """Who asks. `name` is no secret: it stands in logs, the audit and metrics. `anonymous` where the server has no keys."""

    name: str = "anonymous"
    is_admin: bool = False
    """Whether /metrics may be read with it."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """Of this key alone; what they mean is up to limits.py."""


@dataclass(frozen=True)
class Asked:
    """A request that was understood and has not been queued yet."""

    id: str
    """Also the `id` of the response and the X-Request-Id header."""
    kind: Literal["chat", "completion"]
    model: str
    key: KeyHolder
    request: ChatRequest | CompletionRequest
    texts: tuple[str, ...]
    """Every text that the client sent: messages, arguments of calls, or prompts (token ids are decoded)."""
    prompt_tokens: int
    """As the model will read them; of all prompts of a completion together."""
    most_new_tokens: int
    """An upper bound: choices x the longest answer allowed."""
    choices: int
    received_s: float
    """time.monotonic() when the last byte of the request was there."""


@dataclass(frozen=True)
class Ended:
    """What became of it. Times are seconds since `Asked.received_s`; None where it never came so far."""

    outcome: Outcome
    status: int
    """Of the HTTP response; 499 where the client left."""
    code: str | None
    """The fault word, if it was refused or failed."""
    texts: tuple[str, ...]
    """One a choice, as the client got them."""
    finish_reasons: tuple[str, ...]
    prompt_tokens: int
    completion_tokens: int
    """What the model made, also where a filter kept some of it back; 0 for a cached answer."""
    queued_s: float | None
    first_token_s: float | None
    total_s: float


@dataclass(frozen=True)
class Answer:
    """A whole answer, as the cache keeps it."""

    texts: tuple[str, ...]
    finish_reasons: tuple[str, ...]
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class ServerState:
    """The moment, for /metrics and /ready."""

    models: Sequence[str]
    is_ready: bool
    is_draining: bool
    waiting: int
    """Requests in the queue."""
    most_waiting: int
    running: int
    """Requests that the engine works on."""
    most_running: int
    engine: str
    engine_restarts: int


class Doorkeeper(Protocol):
    """Tells who asks. Without keys the server has one that lets everybody in, and listens on loopback alone."""

    def admit(self, authorization: str | None) -> KeyHolder:
        """The holder of the key in the Authorization header. Raises Refusal(401, "api-key") in constant time."""


class OutputGate(Protocol):
    """Holds back the text of one choice until it is cleared."""

    async def feed(self, text: str) -> str:
        """Take the next piece, give what may go out now. Raises Withheld to end the choice there."""

    async def finish(self) -> str:
        """The model has ended: what was still held back, as far as it may go out. May raise Withheld."""


class Withheld(Exception):
    """The choice ends here with finish_reason `content_filter`; `released` may still go out before that."""

    def __init__(self, reason: str, released: str = "") -> None:
        super().__init__(reason)
        self.reason, self.released = reason, released


class Hook(Protocol):
    """Takes part in every request. `Bystander` below does nothing: build on it and write only what is needed."""

    async def before(self, asked: Asked) -> Mapping[str, str]:
        """Refuse (raise Refusal: 429 with Retry-After, 400 by a filter) or give headers for the response."""

    def gate(self, asked: Asked, choice: int) -> OutputGate | None:
        """What the text of a choice passes through; None if nothing."""

    async def after(self, asked: Asked, ended: Ended) -> None:
        """The request has ended, however it did."""

    async def refused(self, id: str, key: KeyHolder | None, path: str, status: int, code: str) -> None:
        """A request that never came as far as `before` (no key, not readable, no such model, ...)."""

    async def close(self) -> None:
        """The server has drained."""


class Bystander:
    """A hook that does nothing."""

    async def before(self, asked: Asked) -> Mapping[str, str]:
        return {}

    def gate(self, asked: Asked, choice: int) -> OutputGate | None:
        return None

    async def after(self, asked: Asked, ended: Ended) -> None:
        pass

    async def refused(self, id: str, key: KeyHolder | None, path: str, status: int, code: str) -> None:
        pass

    async def close(self) -> None:
        pass


class AnswerCache(Protocol):
    """Answers that were given before."""

    async def find(self, asked: Asked) -> Answer | None:
        """The answer to the same question, if it is known and may be given again (greedy or seeded, no logprobs or tools)."""

    async def keep(self, asked: Asked, answer: Answer) -> None:
        """A whole answer, as it went out."""


class MetricsPage(Protocol):
    """The text of /metrics."""

    content_type: str

    def render(self, state: ServerState) -> str:
        """The figures of now."""


class EveryoneIn:
    """The doorkeeper of a server without keys."""

    def admit(self, authorization: str | None) -> KeyHolder:
        return KeyHolder()


@dataclass(frozen=True)
class Fittings:
    """What is wired into a server besides its engine."""

    doorkeeper: Doorkeeper = field(default_factory=EveryoneIn)
    has_keys: bool = False
    """Whether the doorkeeper asks for a key: only then may the server listen beyond loopback."""
    hooks: tuple[Hook, ...] = ()
    cache: AnswerCache | None = None
    metrics: MetricsPage | None = None
    log: Callable[[dict[str, Any]], None] | None = None
    """Takes one flat object a request, for structured logs; holds no content and no key."""
