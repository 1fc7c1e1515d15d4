"""What every request passes first, whatever its path: whom it addresses, where it comes from, who asks. And its line in the log.

Nothing is let in by default: a path is open without a key only if it stands in OPEN_PATHS.
"""

import secrets
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from luthier.serve.hooks import Fittings, KeyHolder
from luthier.serve.refusal import Refusal
from luthier.serve.settings import LOOPBACK, ServerSettings

# They say whether the server lives, and nothing else.
OPEN_PATHS = frozenset({"/health", "/ready"})
ALWAYS_SENT = {"x-content-type-options": "nosniff", "cache-control": "no-store"}
MOST_HEADERS = 100


class Door:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, settings: ServerSettings, fittings: Fittings) -> None:
        self._app = app
        self._fittings = fittings
        names = {*settings.hosts, *(LOOPBACK if settings.is_loopback else (settings.host,))}
        self._hosts = frozenset(name.lower().strip("[]") for name in names)
        # Who binds to every address of a machine with keys may name none of them: then any is taken.
        self._takes_any_host = not settings.is_loopback and not settings.hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        state = scope.setdefault("state", {})
        state |= {"id": secrets.token_hex(12), "key": None, "told": False, "log": {}}
        sender = _Sender(send, {**ALWAYS_SENT, "x-request-id": state["id"]})
        try:
            try:
                self._judge(scope, state)
            except Refusal as refusal:
                await refused(refusal, state)(scope, receive, sender)
            else:
                await self._app(scope, receive, sender)
        finally:
            await self._account(scope, state, sender.status, time.monotonic() - started)

    def _judge(self, scope: Scope, state: dict[str, Any]) -> None:
        headers = Headers(scope=scope)
        if len(headers) > MOST_HEADERS:
            raise Refusal(
                431,
                "api-size",
                f"the request has more than {MOST_HEADERS} headers",
                headers={"Connection": "close"},
            )
        if "content-length" in headers and "transfer-encoding" in headers:
            # Two lengths are how requests are smuggled past a proxy.
            raise Refusal(
                400, "api-body", "the request gives its length twice", headers={"Connection": "close"}
            )
        host = _host_of(headers.get("host", ""))
        if not self._takes_any_host and host not in self._hosts:
            raise Refusal(421, "api-host", "this server goes by another name")
        origin = headers.get("origin")
        if origin is not None and _origin_host(origin) not in {*self._hosts, host}:
            raise Refusal(403, "api-host", "pages of other sites may not use this server")
        if scope["path"] not in OPEN_PATHS:
            state["key"] = self._fittings.doorkeeper.admit(headers.get("authorization"))

    async def _account(self, scope: Scope, state: dict[str, Any], status: int, seconds: float) -> None:
        known, key = state["log"], state["key"]
        status = known.get("status", status)
        code = known.get("code")
        if status >= 400 and not state["told"]:
            for hook in self._fittings.hooks:
                await hook.refused(state["id"], key, scope["path"], status, code or "")
        if self._fittings.log is not None:
            self._fittings.log(
                {
                    "id": state["id"],
                    "key": key.name if isinstance(key, KeyHolder) else None,
                    "method": scope["method"],
                    "path": scope["path"],
                    "seconds": round(seconds, 6),
                }
                | known
                | {"status": status}
            )


class _Sender:
    """Passes messages on with the headers that every response has, and remembers the status."""

    def __init__(self, send: Send, headers: Mapping[str, str]) -> None:
        self._send = send
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", []), *self._headers]}
        await self._send(message)


def refused(refusal: Refusal, state: dict[str, Any]) -> Response:
    """The response to a refused request; the log will have its word."""
    state["log"] = {"outcome": "refused", "status": refusal.status, "code": refusal.code}
    return JSONResponse(refusal.body(), refusal.status, refusal.headers)


def _host_of(header: str) -> str:
    """The name in a Host header, without its port."""
    name = header.strip().lower()
    if name.startswith("["):
        return name.partition("]")[0].strip("[")
    return name.rpartition(":")[0] or name if ":" in name else name


def _origin_host(origin: str) -> str | None:
    try:
        return urlsplit(origin).hostname
    except ValueError:
        return None
