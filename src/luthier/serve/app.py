"""The application: its few routes, and what they say when they say no. Everything else is behind them."""

import time
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from luthier.serve.door import Door, refused
from luthier.serve.engines.engine import Engine
from luthier.serve.exchange import Exchange, Works
from luthier.serve.hooks import Fittings, ServerState
from luthier.serve.openapi import describe
from luthier.serve.queue import Queue
from luthier.serve.refusal import Refusal
from luthier.serve.settings import ServerSettings
from luthier.serve.tokenize import Tokenizer


class Drain:
    """Whether the server is being stopped."""

    def __init__(self) -> None:
        self.has_begun = False


def make_app(engine: Engine, settings: ServerSettings, fittings: Fittings, drain: Drain) -> Starlette:
    """The application over an engine that has started."""
    rows = engine.facts.most_rows
    most_rows = min(rows, settings.most_running or rows)
    queue = Queue(most_rows=most_rows, most_waiting=settings.most_waiting, wait_s=settings.wait_s)
    works = Works(engine, queue, fittings, settings, lambda: drain.has_begun)
    pages = Pages(works)

    # Starlette runs what is not async in a thread of its own, which costs a request milliseconds.
    async def chat(request: Request) -> Exchange:
        return Exchange(works, "chat")

    async def completion(request: Request) -> Exchange:
        return Exchange(works, "completion")

    routes = [
        Route("/v1/chat/completions", chat, methods=["POST"]),
        Route("/v1/completions", completion, methods=["POST"]),
        Route("/tokenize", Tokenizer(works).answer, methods=["POST"]),
        Route("/v1/models", pages.models),
        Route("/v1/models/{name:path}", pages.model),
        Route("/health", pages.health),
        Route("/ready", pages.ready),
        Route("/metrics", pages.metrics),
        Route("/openapi.json", pages.openapi),
    ]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Door, settings=settings, fittings=fittings)],
        exception_handlers={Refusal: _on_refusal, HTTPException: _on_http_fault, Exception: _on_our_fault},
    )
    app.router.redirect_slashes = False
    app.state.works = works
    return app


class Pages:
    """Everything that is read only."""

    def __init__(self, works: Works) -> None:
        self._works = works
        self._created = int(time.time())

    def state(self) -> ServerState:
        """The server at this moment."""
        works = self._works
        return ServerState(
            models=works.engine.facts.models,
            is_ready=works.engine.is_ready and not works.is_draining(),
            is_draining=works.is_draining(),
            waiting=works.queue.waiting,
            most_waiting=works.queue.most_waiting,
            running=works.queue.running,
            most_running=works.queue.most_rows,
            engine=works.engine.facts.name,
            engine_restarts=works.engine.restarts,
        )

    async def models(self, request: Request) -> Response:
        listed = [self._model(name) for name in self._works.engine.facts.models]
        return JSONResponse({"object": "list", "data": listed})

    async def model(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._works.engine.facts.models:
            raise Refusal(404, "api-model", "there is no model of that name here", "model")
        return JSONResponse(self._model(name))

    async def health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        is_ready = self.state().is_ready
        return JSONResponse({"ready": is_ready}, 200 if is_ready else 503)

    async def metrics(self, request: Request) -> Response:
        page, key = self._works.fittings.metrics, request.state.key
        if page is None:
            raise Refusal(404, "api-path", "this server keeps no metrics")
        if self._works.fittings.has_keys and not key.is_admin:
            raise Refusal(403, "api-key", "the metrics are for keys of administrators")
        return PlainTextResponse(page.render(self.state()), headers={"content-type": page.content_type})

    async def openapi(self, request: Request) -> Response:
        return JSONResponse(describe(self._works.engine.facts.models, has_keys=self._works.fittings.has_keys))

    def _model(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self._created, "owned_by": "luthier"}


async def _on_refusal(request: Request, fault: Exception) -> Response:
    assert isinstance(fault, Refusal)
    return refused(fault, request.scope["state"])


async def _on_http_fault(request: Request, fault: Exception) -> Response:
    """Starlette's own refusals: no such path, no such method."""
    assert isinstance(fault, HTTPException)
    headers = dict(fault.headers or {})
    if fault.status_code == 405:
        refusal = Refusal(405, "api-method", "the path does not take this method", headers=headers)
    else:
        refusal = Refusal(fault.status_code, "api-path", "there is nothing at this path", headers=headers)
    return refused(refusal, request.scope["state"])


async def _on_our_fault(request: Request, fault: Exception) -> Response:
    """A fault of ours: the client hears that it was one, the log has its place in the code."""
    return refused(Refusal(500, "api-engine", "the server failed at this request"), request.scope["state"])
