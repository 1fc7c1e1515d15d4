"""A stand-in for an OpenAI-compatible endpoint on 127.0.0.1, whose answers and faults the test chooses."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    """What one request gets. `drop_after` closes the connection after so many bytes of the body."""

    text: str | None = "an answer"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    finish_reason: str = "stop"
    refusal: str | None = None
    usage: Any = field(default_factory=lambda: {"prompt_tokens": 10, "completion_tokens": 5})
    wait_s: float = 0.0
    drop_after: int | None = None

    def content(self, model: str) -> bytes:
        """The body: a completion, unless another one was given."""
        if self.body is not None:
            return self.body
        message = {"role": "assistant", "content": self.text, "refusal": self.refusal}
        choice = {"index": 0, "message": message, "finish_reason": self.finish_reason}
        return json.dumps({"model": model, "choices": [choice], "usage": self.usage}).encode()


@dataclass
class Asked:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def prompt(self) -> str:
        """The user's message."""
        return str(self.body["messages"][-1]["content"])


Choose = Callable[[Asked, int], Reply]
"""A request and how often its prompt came before it."""


@dataclass
class Server:
    """The address, and every request so far."""

    address: str
    asked: list[Asked] = field(default_factory=list)
    most_at_once: int = 0
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def enter(self, asked: Asked) -> int:
        """Note a request; returns how often its prompt came before."""
        with self._lock:
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            before = sum(other.prompt == asked.prompt for other in self.asked)
            self.asked.append(asked)
            return before

    def leave(self) -> None:
        """The request is answered."""
        with self._lock:
            self._now -= 1


@contextmanager
def endpoint(choose: Choose) -> Iterator[Server]:
    """An endpoint that is there for the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked = Asked(self.path, dict(self.headers), body)
            before = server.enter(asked)
            try:
                self._reply(choose(asked, before), str(body["model"]))
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True
            finally:
                server.leave()

        def _reply(self, reply: Reply, model: str) -> None:
            time.sleep(reply.wait_s)
            content = reply.content(model)
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(content)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if reply.drop_after is not None:
                content = content[: reply.drop_after]
                self.close_connection = True
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server = Server(f"http://127.0.0.1:{http.server_address[1]}/v1")
    threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
