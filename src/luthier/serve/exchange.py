"""One request from its first byte to its last: read, judged, admitted, queued, answered, accounted for; and ended when its client leaves."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Any, Literal

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from luthier.serve.api import ChatRequest, CompletionRequest
from luthier.serve.body import ClientGone, judge, read_json
from luthier.serve.engines.engine import Engine, Prepared
from luthier.serve.flow import Flow
from luthier.serve.hooks import Answer, Asked, Ended, Fittings, Hook, KeyHolder, Outcome
from luthier.serve.judge import judge_abilities, longest_answer, sent_texts
from luthier.serve.queue import Queue
from luthier.serve.refusal import Refusal, busy
from luthier.serve.reply import END_OF_STREAM, Delta, Reply, WholeChoice, error_event, usage_of
from luthier.serve.settings import ServerSettings

CLIENT_LEFT = 499


class WriteTimeout(Exception):
    """The client has stopped reading."""


@dataclass(frozen=True)
class Works:
    """What every exchange works with."""

    engine: Engine
    queue: Queue
    fittings: Fittings
    settings: ServerSettings
    is_draining: Callable[[], bool]


class Exchange:
    """An ASGI answer to one POST of a chat or a completion."""

    def __init__(self, works: Works, kind: Literal["chat", "completion"]) -> None:
        self._works = works
        self._kind = kind
        self._asked: Asked | None = None
        self._called: list[Hook] = []
        self._flow: Flow | None = None
        self._cached: Answer | None = None
        self._queued_at: float | None = None
        self._first_at: float | None = None
        self._has_started = False
        self._headers: dict[str, str] = {}
        self._prompt_tokens = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._send = send
        outcome: Outcome = "failed"
        status, code = 500, "api-engine"
        try:
            given = await read_json(Headers(scope=scope), receive, self._works.settings)
            request = judge(ChatRequest, given) if self._kind == "chat" else judge(CompletionRequest, given)
            work = asyncio.create_task(self._work(scope, request))
            await _first_of(work, receive)
            outcome, status, code = ("cached" if self._cached else "answered"), 200, ""
        except Refusal as refusal:
            outcome, status, code = (
                "refused" if refusal.status < 500 else "failed",
                refusal.status,
                refusal.code,
            )
            await self._refuse(refusal)
        except (ClientGone, WriteTimeout) as fault:
            outcome, status, code = "cancelled", CLIENT_LEFT, ""
            if isinstance(fault, WriteTimeout):
                # Closing would wait until what is written has been read, which never happens.
                scope["luthier.abort"]()
        except asyncio.CancelledError:
            outcome, status, code = "cancelled", CLIENT_LEFT, ""
            raise
        finally:
            scope["state"]["told"] = self._asked is not None
            scope["state"]["log"] = {"outcome": outcome, "status": status, "code": code or None}
            if self._asked is not None:
                await asyncio.shield(self._account(scope, outcome, status, code or None))

    async def _work(self, scope: Scope, request: ChatRequest | CompletionRequest) -> None:
        works, key = self._works, scope["state"]["key"]
        if works.is_draining():
            raise busy("the server is being stopped", retry_after_s=5, code="api-draining")
        judge_abilities(request, works.engine.facts)
        prepared = await works.engine.prepare(request)
        most_new_tokens = longest_answer(
            request, prepared, works.engine.facts, works.settings, most_rows=works.queue.most_rows
        )
        await self._admit(scope["state"]["id"], key, request, prepared, most_new_tokens)
        assert self._asked is not None
        form = works.engine.facts.tool_forms.get(request.model) if _wants_tools(request) else None
        self._flow = flow = Flow(self._asked, works.fittings.hooks, form)
        if flow.is_filtered and request.top_count is not None:
            raise Refusal(
                400,
                "api-unsupported",
                "this server filters answers, so it tells no log probabilities",
                "logprobs",
            )
        reply = Reply(self._asked.id, self._kind, request.model, request.top_count is not None)
        async with AsyncExitStack() as stack:
            deltas = await self._deltas(stack, flow, prepared, most_new_tokens)
            if request.streams:
                await self._stream(reply, deltas, request)
            else:
                await self._answer_whole(reply, deltas)

    async def _admit(
        self,
        id: str,
        key: KeyHolder,
        request: ChatRequest | CompletionRequest,
        prepared: Prepared,
        most_new_tokens: int,
    ) -> None:
        """Let every hook look at the request; those that did hear of its end."""
        choices = request.choices * max(1, len(prepared.prompts))
        self._asked = Asked(
            id=("chatcmpl-" if self._kind == "chat" else "cmpl-") + id,
            kind=self._kind,
            model=request.model,
            key=key,
            request=request,
            texts=sent_texts(request, prepared),
            prompt_tokens=prepared.prompt_tokens,
            most_new_tokens=choices * most_new_tokens,
            choices=choices,
            received_s=time.monotonic(),
        )
        self._prompt_tokens = prepared.prompt_tokens
        for hook in self._works.fittings.hooks:
            self._called.append(hook)
            self._headers |= await hook.before(self._asked)

    async def _deltas(
        self, stack: AsyncExitStack, flow: Flow, prepared: Prepared, most_new_tokens: int
    ) -> AsyncIterator[Delta]:
        """What goes out, begun: an engine that fails at once still gives the request a status of its own."""
        works, asked = self._works, self._asked
        assert asked is not None
        cache = works.fittings.cache
        self._cached = await cache.find(asked) if cache is not None else None
        if self._cached is not None:
            return _replay(self._cached, flow)
        await stack.enter_async_context(works.queue.turn(asked.choices))
        self._queued_at = time.monotonic()
        await stack.enter_async_context(_deadline(works.settings.answer_s))
        pieces = await stack.enter_async_context(aclosing(flow.run(works.engine, prepared, most_new_tokens)))  # type: ignore[type-var]
        first = await anext(pieces, None)
        self._first_at = time.monotonic()
        return _chained(first, pieces)

    async def _answer_whole(self, reply: Reply, deltas: AsyncIterator[Delta]) -> None:
        async for _ in deltas:
            pass
        assert self._flow is not None
        body = reply.whole([choice.whole for choice in self._flow.choices], self._usage())
        await self._keep()
        raw = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        await self._start(200, {"content-type": "application/json", "content-length": str(len(raw))})
        await self._write(raw, is_last=True)

    async def _stream(
        self, reply: Reply, deltas: AsyncIterator[Delta], request: ChatRequest | CompletionRequest
    ) -> None:
        assert self._asked is not None
        await self._start(
            200, {"content-type": "text/event-stream; charset=utf-8", "x-accel-buffering": "no"}
        )
        begun: set[int] = set()
        offsets = [0] * self._asked.choices
        async for delta in deltas:
            raw = b""
            if delta.choice not in begun:
                begun.add(delta.choice)
                raw += reply.first_chunk(delta.choice) or b""
            raw += reply.chunk(delta, offset=offsets[delta.choice])
            offsets[delta.choice] += len(delta.text)
            await self._write(raw)
        tail = reply.usage_chunk(self._usage()) if request.includes_usage else b""
        await self._keep()
        await self._write(tail + END_OF_STREAM, is_last=True)

    def _usage(self) -> dict[str, Any]:
        made = (
            self._cached.completion_tokens
            if self._cached
            else self._flow.completion_tokens
            if self._flow
            else 0
        )
        return usage_of(self._prompt_tokens, made)

    async def _keep(self) -> None:
        """Remember a whole answer, if the server does."""
        cache, flow, asked = self._works.fittings.cache, self._flow, self._asked
        if cache is None or self._cached is not None or flow is None or asked is None:
            return
        whole = [choice.whole for choice in flow.choices]
        if any(each.tool_calls or each.finish == "content_filter" for each in whole):
            return
        texts, finishes = tuple(each.text for each in whole), tuple(each.finish for each in whole)
        await cache.keep(asked, Answer(texts, finishes, self._prompt_tokens, flow.completion_tokens))

    async def _refuse(self, refusal: Refusal) -> None:
        if self._has_started:
            await self._write(error_event(refusal.body()), is_last=True)
            return
        raw = json.dumps(refusal.body(), separators=(",", ":")).encode()
        length = {"content-type": "application/json", "content-length": str(len(raw))}
        await self._start(refusal.status, length | refusal.headers)
        await self._write(raw, is_last=True)

    async def _start(self, status: int, headers: Mapping[str, str]) -> None:
        self._has_started = True
        named = {name.lower(): value for name, value in (self._headers | dict(headers)).items()}
        listed = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in named.items()]
        await self._put({"type": "http.response.start", "status": status, "headers": listed})

    async def _write(self, raw: bytes, *, is_last: bool = False) -> None:
        await self._put({"type": "http.response.body", "body": raw, "more_body": not is_last})

    async def _put(self, message: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(self._works.settings.write_s):
                await self._send(message)
        except TimeoutError as fault:
            raise WriteTimeout from fault

    async def _account(self, scope: Scope, outcome: Outcome, status: int, code: str | None) -> None:
        """Tell every hook that was asked, in reverse order, what became of the request."""
        asked, flow = self._asked, self._flow
        assert asked is not None
        whole = [choice.whole for choice in flow.choices] if flow else []
        ended = Ended(
            outcome=outcome,
            status=status,
            code=code,
            texts=tuple(each.text for each in whole),
            finish_reasons=tuple(each.finish for each in whole) if outcome in ("answered", "cached") else (),
            prompt_tokens=asked.prompt_tokens,
            completion_tokens=flow.completion_tokens if flow else 0,
            queued_s=None if self._queued_at is None else self._queued_at - asked.received_s,
            first_token_s=None if self._first_at is None else self._first_at - asked.received_s,
            total_s=time.monotonic() - asked.received_s,
        )
        scope["state"]["log"] |= {
            "model": asked.model,
            "prompt_tokens": ended.prompt_tokens,
            "completion_tokens": ended.completion_tokens,
            "queued_s": ended.queued_s,
            "first_token_s": ended.first_token_s,
        }
        for hook in reversed(self._called):
            await hook.after(asked, ended)


async def _first_of(work: asyncio.Task[None], receive: Receive) -> None:
    """Wait for the work, or end it when the client leaves. Raises ClientGone, or what the work raises."""
    leaving = asyncio.ensure_future(_wait_for_leave(receive))
    try:
        await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientGone
        work.result()
    finally:
        leaving.cancel()
        if not work.done():
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError, Refusal, WriteTimeout):
                await work


async def _wait_for_leave(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@contextlib.asynccontextmanager
async def _deadline(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as fault:
        raise Refusal(504, "api-timeout", f"the answer took longer than {seconds:g} s") from fault


async def _chained(first: Delta | None, rest: AsyncIterator[Delta]) -> AsyncIterator[Delta]:
    if first is not None:
        yield first
    async for delta in rest:
        yield delta


async def _replay(answer: Answer, flow: Flow) -> AsyncIterator[Delta]:
    """A kept answer as deltas, one a choice."""
    for number, (text, finish) in enumerate(zip(answer.texts, answer.finish_reasons, strict=True)):
        delta = Delta(number, text, finish=finish)
        flow.choices[number].whole = WholeChoice()
        flow.choices[number].whole.add(delta)
        yield delta


def _wants_tools(request: ChatRequest | CompletionRequest) -> bool:
    return isinstance(request, ChatRequest) and bool(request.tools) and request.tool_choice != "none"
