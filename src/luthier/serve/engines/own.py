"""Engines of a worker process: Luthier's own generator (safetensors models, adapters over their base, several by name) or llama.cpp.

This is the server's side: it hands orders to the process of `own_worker.py` or `gguf_worker.py`, sorts what comes back, and starts that process anew
when it dies.
"""

import asyncio
import contextlib
import itertools
import signal
from collections.abc import AsyncIterator, Mapping
from typing import Any

from luthier.floor import errors
from luthier.floor.errors import EnvironmentFault, LuthierError, ModelError
from luthier.floor.log import Listener, Silent
from luthier.serve.api import ChatRequest, CompletionRequest, text_of
from luthier.serve.engines.engine import EngineFacts, Piece, Prepared, TokenFacts
from luthier.serve.engines.worker_process import WorkerProcess
from luthier.serve.refusal import Refusal, busy

MODULE = "luthier.serve.engines.own_worker"
GGUF_MODULE = "luthier.serve.engines.gguf_worker"
# A worker that dies again so soon after its start is not started at once: something is wrong that a start does not mend.
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
RETRY_AFTER_S = 5


class OwnEngine:
    """Answers in a worker process; `specification` is what `own_worker.House` reads."""

    def __init__(
        self,
        specification: Mapping[str, Any],
        listener: Listener | None = None,
        *,
        module: str = MODULE,
        name: str = "own",
    ) -> None:
        self._specification = specification
        self._module, self._name = module, name
        self._listener = listener or Silent()
        self._worker: WorkerProcess | None = None
        self._facts: EngineFacts | None = None
        self._watch: asyncio.Task[None] | None = None
        self._numbers = itertools.count(1)
        self._preparing: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._rows: dict[int, asyncio.Queue[list[Any] | None]] = {}
        self.is_ready = False
        self.restarts = 0

    @property
    def facts(self) -> EngineFacts:
        assert self._facts is not None, "the engine has started"
        return self._facts

    @property
    def worker_pid(self) -> int | None:
        """The process that computes."""
        return self._worker.pid if self._worker else None

    async def start(self) -> None:
        lines = await self._load()
        self._watch = asyncio.create_task(self._attend(lines))

    async def stop(self) -> None:
        self.is_ready = False
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        if self._worker is not None:
            await self._worker.end()
        self._lose_everything()

    async def prepare(self, request: ChatRequest | CompletionRequest) -> Prepared:
        number = next(self._numbers)
        order: dict[str, Any] = {"do": "prepare", "id": number, "model": request.model}
        if isinstance(request, ChatRequest):
            order["messages"] = [_plain(message) for message in request.messages]
            wants_tools = request.tools and request.tool_choice != "none"
            order["tools"] = (
                [tool.model_dump(exclude_none=True) for tool in request.tools or ()] if wants_tools else []
            )
        else:
            order["prompts"] = [given if isinstance(given, str) else list(given) for given in request.prompts]
        found = await self._ask(number, order)
        prompts = tuple(tuple(ids) for ids in found["prompts"])
        return Prepared(
            request=request,
            prompts=prompts,
            prompt_tokens=sum(map(len, prompts)),
            longest_prompt=max(map(len, prompts)),
            texts=tuple(found["texts"]),
        )

    async def answer(self, prepared: Prepared, *, most_new_tokens: int) -> AsyncIterator[Piece]:
        request, events = prepared.request, asyncio.Queue[list[Any] | None]()
        worker = self._living_worker()
        choice_of: dict[int, int] = {}
        for place, (ids, number) in enumerate(itertools.product(prepared.prompts, range(request.choices))):
            handle = next(self._numbers)
            choice_of[handle] = place
            self._rows[handle] = events
            worker.tell(_order(handle, request, ids, number, most_new_tokens))
        try:
            while choice_of:
                event = await events.get()
                if event is None:
                    raise self._gone()
                handle, text, tokens, facts, finish = event
                yield Piece(choice_of[handle], text, tokens, tuple(map(_fact, facts)), finish)
                if finish is not None:
                    del choice_of[handle], self._rows[handle]
        finally:
            for handle in choice_of:
                self._rows.pop(handle, None)
            if choice_of:
                worker.tell({"do": "cancel", "handles": list(choice_of)})

    async def _load(self) -> AsyncIterator[dict[str, Any]]:
        """Start the process and wait until its models are loaded; what it says from then on."""
        self._worker = await WorkerProcess.start(self._module, self._specification)
        lines = self._worker.lines()
        first = await anext(lines, None)
        if first is None:
            code = await self._worker.ended()
            if self._module == GGUF_MODULE and code not in (0, -signal.SIGKILL):
                raise ModelError(
                    "gguf-load",
                    f"llama.cpp died of the file (exit code {code})",
                    where=self._specification["models"][0]["folder"],
                    fix="If the file was made elsewhere, take it again from where it was published.",
                )
            raise EnvironmentFault(
                "env-memory",
                f"the process that loads the model ended with {code}",
                why="Nothing it said tells why; a process that takes too much memory is ended by the system.",
                fix="See what is free: luthier doctor",
            )
        if first["is"] == "failed":
            raise _as_error(first)
        self._facts = EngineFacts(
            name=self._name,
            models=tuple(first["models"]),
            context_tokens=first["context_tokens"],
            most_rows=first["most_rows"],
            abilities=frozenset({"logprobs", "ids"}),
            tool_forms=first["tool_forms"],
        )
        self.is_ready = True
        return lines

    async def _attend(self, lines: AsyncIterator[dict[str, Any]]) -> None:
        """Sort what the process says; when it dies, tell everybody who waits, and start it anew."""
        pause_s = FIRST_PAUSE_S
        while True:
            async for said in lines:
                self._sort(said)
                pause_s = FIRST_PAUSE_S
            self.is_ready = False
            self._lose_everything()
            assert self._worker is not None
            self._listener.warn(
                f"the process of the model ended with {await self._worker.ended()}; it is started anew"
            )
            while not self.is_ready:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                self.restarts += 1
                try:
                    lines = await self._load()
                except LuthierError as fault:
                    self._listener.warn(f"the model could not be loaded again: {fault.what}")

    def _sort(self, said: dict[str, Any]) -> None:
        kind = said["is"]
        if kind == "pieces":
            for event in said["pieces"]:
                if (events := self._rows.get(event[0])) is not None:
                    events.put_nowait(event)
        elif kind == "lost":
            self._listener.warn(said["message"])
            for handle in said["handles"]:
                if (events := self._rows.pop(handle, None)) is not None:
                    events.put_nowait(None)
        elif (waiting := self._preparing.pop(said["id"], None)) is not None and not waiting.done():
            waiting.set_result(said)

    async def _ask(self, number: int, order: dict[str, Any]) -> dict[str, Any]:
        worker = self._living_worker()
        waiting: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._preparing[number] = waiting
        worker.tell(order)
        try:
            found = await waiting
        finally:
            self._preparing.pop(number, None)
        if found["is"] == "refused":
            raise Refusal(found["status"], found["code"], found["message"], found["param"])
        return found

    def _living_worker(self) -> WorkerProcess:
        if self._worker is None or not self.is_ready:
            raise self._gone()
        return self._worker

    def _gone(self) -> Refusal:
        return busy("the model is being loaded anew", retry_after_s=RETRY_AFTER_S, code="api-engine")

    def _lose_everything(self) -> None:
        for waiting in self._preparing.values():
            if not waiting.done():
                waiting.set_exception(self._gone())
        self._preparing.clear()
        for events in {id(events): events for events in self._rows.values()}.values():
            events.put_nowait(None)
        self._rows.clear()


def _plain(message: Any) -> dict[str, Any]:
    """A message as the worker reads it: parts are put together, what says nothing is left out."""
    plain: dict[str, Any] = message.model_dump(exclude_none=True)
    plain["content"] = text_of(message.content)
    return plain


def _order(
    handle: int,
    request: ChatRequest | CompletionRequest,
    ids: tuple[int, ...],
    number: int,
    most_new_tokens: int,
) -> dict[str, Any]:
    """One row for the worker. The choices of a seeded request differ from one another, and are the same each time."""
    settings = {
        "temperature": 1.0 if request.temperature is None else request.temperature,
        "top_p": 1.0 if request.top_p is None else request.top_p,
        "seed": None if request.seed is None else f"{request.seed}/{number}",
        "bias": request.logit_bias or {},
        "frequency_penalty": request.frequency_penalty or 0.0,
        "presence_penalty": request.presence_penalty or 0.0,
    }
    return {
        "do": "generate",
        "handle": handle,
        "model": request.model,
        "prompt": list(ids),
        "most_new_tokens": most_new_tokens,
        "is_chat": isinstance(request, ChatRequest),
        "settings": settings,
        "stops": list(request.stops),
        "top": request.top_count,
    }


def _fact(said: list[Any]) -> TokenFacts:
    text, logprob, top = said
    return TokenFacts(text, logprob, tuple((other, found) for other, found in top))


def _as_error(said: dict[str, Any]) -> LuthierError:
    """The worker's error as one of ours, so that the command ends with its exit code."""
    kinds = {kind.__name__: kind for kind in _kinds(LuthierError)}
    found = said["error"]
    return kinds[said["kind"]](
        found["code"],
        found["what"],
        where=found["where"],
        why=found["why"],
        fix=found["fix"],
        problems=found["problems"],
    )


def _kinds(parent: type[LuthierError]) -> list[type[LuthierError]]:
    found = [kind for kind in parent.__subclasses__() if kind.__module__ == errors.__name__]
    return found + [below for kind in found for below in _kinds(kind)]
