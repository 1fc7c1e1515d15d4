"""Talk with a model: with one that this program loads, or with a server over OpenAI's API. Whoever asks sees no difference.

A refusal becomes an error of ours, so that a command can end with it or go on.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from luthier.config.recipe import Recipe
from luthier.floor.errors import DataError, EnvironmentFault, LuthierError
from luthier.floor.log import Listener
from luthier.serve.api import ChatRequest
from luthier.serve.engines.engine import Prepared
from luthier.serve.events import EventReader, api_root
from luthier.serve.judge import longest_answer
from luthier.serve.refusal import Refusal
from luthier.serve.settings import ServerSettings
from luthier.serve.stage import make_engine
from luthier.serve.subject import find_served

LONGEST_PAGE = 2**20
CONNECT_S = 10.0
# The longest that a server may be silent: a long prompt on a slow machine is read before the first word.
SILENT_S = 600.0
Say = Callable[[str], None]
Told = TypeVar("Told")


@dataclass(frozen=True)
class Question:
    """A conversation that ends with the user's message, and how it is to be answered."""

    model: str
    messages: tuple[dict[str, str], ...]
    temperature: float
    most_new_tokens: int


@dataclass(frozen=True)
class Answer:
    """What was said, and why it ended: `stop` or `length`."""

    model: str
    text: str
    finish: str
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Rendered:
    """A conversation as the model reads it."""

    text: str
    ids: tuple[int, ...]


class Partner(Protocol):
    """Whom one talks with."""

    models: tuple[str, ...]
    remembers: bool
    """False for a model that was trained on single prompts."""

    def answer(self, question: Question, say: Say) -> Answer:
        """Say the answer piece by piece. Raises DataError (the question), EnvironmentFault (who answers)."""

    def rendered(self, question: Question) -> Rendered | None:
        """What the model reads; None where that is not told."""

    def close(self) -> None:
        """Free everything."""


class OwnModel:
    """A model in a process that this program starts. Raises what loading it raises."""

    def __init__(self, target: str, recipe: Recipe, listener: Listener, *, base: str | None = None) -> None:
        served = find_served(target, recipe.serve, base=base)
        listener.say(f"loading {target}")
        self._settings = ServerSettings.of(recipe.serve)
        self._engine = make_engine(served, recipe, listener)
        self._runner = asyncio.Runner()
        with ExitStack() as unless_loaded:  # Ctrl-C while it loads, too: the process must not stay
            unless_loaded.callback(self.close)
            self._runner.run(self._engine.start())
            unless_loaded.pop_all()
        self.models = self._engine.facts.models
        self.remembers = served.models[0].template != "guide"

    def answer(self, question: Question, say: Say) -> Answer:
        """Say the answer piece by piece; Ctrl-C ends it."""
        return self._run(self._answer(question, say))

    def rendered(self, question: Question) -> Rendered:
        """What the model reads."""
        prepared = self._run(self._engine.prepare(_request(question)))
        return Rendered(prepared.texts[0], prepared.prompts[0])

    def close(self) -> None:
        """End the process."""
        self._runner.run(self._engine.stop())
        self._runner.close()

    def _run(self, work: Coroutine[Any, Any, Told]) -> Told:
        try:
            return self._runner.run(work)
        except Refusal as refusal:
            raise as_error(refusal.status, refusal.code, refusal.message) from refusal

    async def _answer(self, question: Question, say: Say) -> Answer:
        request = _request(question)
        prepared: Prepared = await self._engine.prepare(request)
        settings = replace(self._settings, most_new_tokens=question.most_new_tokens)
        most = longest_answer(request, prepared, self._engine.facts, settings, most_rows=1)
        text, tokens, finish = "", 0, ""
        async with aclosing(self._engine.answer(prepared, most_new_tokens=most)) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                say(piece.text)
                text, tokens, finish = text + piece.text, tokens + piece.tokens, piece.finish or finish
        return Answer(question.model, text, finish, prepared.prompt_tokens, tokens)


class Server:
    """A server that was named by its address; nothing else is asked, and no redirect is followed."""

    remembers = True

    def __init__(self, url: str, key: str | None) -> None:
        import httpx

        self._httpx = httpx
        self._url = api_root(url)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = httpx.Timeout(SILENT_S, connect=CONNECT_S)
        self._client = httpx.Client(headers=headers, timeout=timeout, trust_env=False, follow_redirects=False)
        listed = self._guarded(self._list)
        self.models = tuple(str(model["id"]) for model in listed["data"])
        if not self.models:
            raise self._fault("names no model")

    def answer(self, question: Question, say: Say) -> Answer:
        """Say the answer piece by piece."""
        found: Answer = self._guarded(lambda: self._answer(question, say))
        return found

    def rendered(self, question: Question) -> None:
        """A server keeps to itself what its model reads."""
        return

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def _list(self) -> Any:
        with self._client.stream("GET", f"{self._url}/models") as response:
            return json.loads(self._page(response))

    def _answer(self, question: Question, say: Say) -> Answer:
        body = _body(question) | {"stream": True, "stream_options": {"include_usage": True}}
        text, finish, usage = "", "", {"prompt_tokens": 0, "completion_tokens": 0}
        with self._client.stream("POST", f"{self._url}/chat/completions", json=body) as response:
            if response.status_code != 200:
                self._page(response)
            for event in self._events(response):
                if "error" in event:
                    raise self._refused(503, event)
                usage = event.get("usage") or usage
                for choice in event["choices"][:1]:
                    part = choice["delta"].get("content") or ""
                    say(part)
                    text, finish = text + part, choice.get("finish_reason") or finish
        if not finish:
            raise self._fault("ended the answer in the middle")
        return Answer(question.model, text, finish, usage["prompt_tokens"], usage["completion_tokens"])

    def _events(self, response: Any) -> Iterator[dict[str, Any]]:
        reader = EventReader()
        for part in response.iter_bytes():
            yield from reader.feed(part)

    def _page(self, response: Any) -> bytes:
        """The whole of a short answer. Raises what its status says."""
        page = b""
        for part in response.iter_bytes():
            page += part
            if len(page) > LONGEST_PAGE:
                raise self._fault(f"sends more than {LONGEST_PAGE:,} bytes where a few are due")
        if response.status_code == 200:
            return page
        try:
            told = json.loads(page)
        except ValueError:
            raise self._fault(f"answers with status {response.status_code}") from None
        raise self._refused(response.status_code, told)

    def _guarded(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except (self._httpx.HTTPError, self._httpx.InvalidURL) as fault:
            raise self._fault(f"cannot be reached: {fault or type(fault).__name__}") from fault
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as fault:
            raise self._fault("answers in a form that is not OpenAI's") from fault

    def _refused(self, status: int, told: dict[str, Any]) -> LuthierError:
        error = told["error"]
        return as_error(status, "env-endpoint", f"{error['message']} ({error.get('code') or status})")

    def _fault(self, what: str) -> EnvironmentFault:
        return EnvironmentFault(
            "env-endpoint",
            f"{self._url} {what}",
            where="the command line",
            fix="See whether it answers: curl " + f"{self._url}/models",
        )


def as_error(status: int, code: str, message: str) -> LuthierError:
    """A refusal as an error: the question's fault, or that of who answers."""
    kind = EnvironmentFault if status >= 500 or status in (401, 403, 404, 429) else DataError
    fix = "Start a new chat, or ask for a shorter answer: --max-tokens" if code == "api-context" else ""
    return kind(code, message, where="the conversation", fix=fix)


def _body(question: Question) -> dict[str, Any]:
    messages: Sequence[dict[str, str]] = question.messages
    return {
        "model": question.model,
        "messages": list(messages),
        "temperature": question.temperature,
        "max_tokens": question.most_new_tokens,
    }


def _request(question: Question) -> ChatRequest:
    """The question for an engine; without the limit, which is cut to what the context leaves."""
    return ChatRequest.model_validate({**_body(question), "max_tokens": None})
