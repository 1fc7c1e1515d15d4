"""The HTTP protocol, guarded: a client that is slow with the head of a request is cut off, a huge head gets 431, one that stops reading can be dropped.

uvicorn's h11 protocol with these three added; it has timeouts for idle connections only.
"""

import asyncio
import json
import sys
from typing import Any, ClassVar

import h11
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from luthier.serve.refusal import Refusal, busy


class GuardedProtocol(H11Protocol):
    """One connection. `guarded_protocol` gives the two bounds their values."""

    head_s: ClassVar[float]
    most_connections: ClassVar[int]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_timer: asyncio.TimerHandle | None = None
        inner: Any = self.app

        async def with_abort(scope: Scope, receive: Receive, send: Send) -> None:
            self._stop_waiting()
            await inner({**scope, "luthier.abort": self.transport.abort}, receive, send)

        self.app: Any = with_abort

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            self._say(busy("the server has no connection free", retry_after_s=1))
        else:
            self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        is_idle = self.cycle is None or self.cycle.response_complete
        if is_idle and self._head_timer is None:
            self._wait_for_head()
        super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        """In OpenAI's form. Called where h11 has just refused what came."""
        fault = sys.exception()
        hint = fault.error_status_hint if isinstance(fault, h11.RemoteProtocolError) else 400
        if hint == 431:
            refusal = Refusal(431, "api-size", "the head of the request is too large")
        else:
            refusal = Refusal(400, "api-body", "the request is not valid HTTP/1.1")
        self._say(refusal)

    def _say(self, refusal: Refusal) -> None:
        raw = json.dumps(refusal.body()).encode()
        headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(raw))),
            ("connection", "close"),
            *refusal.headers.items(),
        ]
        if self.conn.our_state is h11.IDLE:
            events = (
                h11.Response(status_code=refusal.status, headers=headers, reason=b""),
                h11.Data(data=raw),
                h11.EndOfMessage(),
            )
            for event in events:
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _wait_for_head(self) -> None:
        self._head_timer = self.loop.call_later(self.head_s, self._give_up)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self._say(Refusal(408, "api-timeout", f"the head did not come whole within {self.head_s:g} s"))


def guarded_protocol(head_s: float, most_connections: int) -> type[H11Protocol]:
    """The protocol for so many connections, whose clients have `head_s` for the head of each request."""
    return type("Bounded", (GuardedProtocol,), {"head_s": head_s, "most_connections": most_connections})
