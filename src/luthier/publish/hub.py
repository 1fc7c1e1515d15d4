"""The line to the hub: huggingface_hub's own client, held to bounds that it does not set itself.

The library waits for ever, reads answers of any size and follows any redirect. Here every request has a timeout, answers are bounded,
a redirect to another host is refused, the token goes to the hub's own address alone, a wait that the hub asks for is bounded, bytes
are counted as they leave, and Ctrl-C ends an upload between two pieces. Only the hub that the user's HF_ENDPOINT names is reached.
"""

import importlib
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from urllib.parse import urljoin, urlsplit

from luthier.floor.errors import EnvironmentFault
from luthier.floor.log import Listener
from luthier.floor.stop import StopFlag

CONNECT_S, SILENCE_S = 10.0, 60.0
# The hub's rate limits count in windows of five minutes (huggingface.co/docs/hub/rate-limits).
MOST_WAIT_S = 300
# A list of ten thousand files is some 3 MB; files that are no LFS objects have at most 10 MB.
MOST_ANSWER_BYTES = 32 * 2**20
# Of a compressed answer, which may grow a thousandfold; none was asked for.
MOST_PACKED_BYTES = 256 * 2**10
AGAIN = (408, 429, 500, 502, 503, 504)


def library() -> ModuleType:
    """huggingface_hub, without its telemetry, and sending files by plain HTTP unless the environment says otherwise.

    HF_HUB_DISABLE_XET=0 lets it send through hf_xet, whose bytes are not counted here.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
    return importlib.import_module("huggingface_hub")


class Line:
    """What goes over the line, and the rules that it keeps."""

    def __init__(self, endpoint: str, token: str, listener: Listener, stop: StopFlag | None) -> None:
        self.endpoint = endpoint.rstrip("/")
        self._token = token
        self.bytes_sent = 0
        self.has_answered = False
        """Whether anything came back yet."""
        self.total_bytes = 0
        """What is to be sent, for the progress."""
        self._listener = listener
        self._stop = stop
        self._lock = threading.Lock()

    def hide(self, text: str) -> str:
        """A text of the hub's without the token, should it send it back."""
        return text.replace(self._token, "[TOKEN]")

    def check_stop(self) -> None:
        """Raise Interrupted or SavedAndStopped if the person or the machine asked to stop."""
        if self._stop is not None:
            self._stop.check(
                "the upload was stopped; files that arrived whole are kept by the hub, and nothing is published yet",
                fix="Repeat the command; they are not sent again.",
            )

    def on_request(self, request: Any) -> None:
        """Before each request, those that follow a redirect included."""
        self.check_stop()
        request.extensions["timeout"] = dict.fromkeys(("read", "write", "pool"), SILENCE_S) | {
            "connect": CONNECT_S
        }
        address = str(request.url)
        if "authorization" in request.headers and origin(address) != origin(self.endpoint):
            raise _wrong_answer(f"it asks for the token to be sent to {place(address)}")
        if self.endpoint.startswith("https:") and not address.startswith("https:"):
            raise _wrong_answer(f"it asks for files to be sent unencrypted, to {place(address)}")
        if request.method in ("POST", "PUT"):
            request.stream = _counted(request.stream, self)

    def on_response(self, response: Any) -> None:
        """Before the body of each answer is read."""
        self.has_answered = True
        address = str(response.request.url)
        target = response.headers.get("location") if response.has_redirect_location else None
        if target is not None and origin(urljoin(address, target)) != origin(address):
            raise _wrong_answer(f"it redirects to {place(urljoin(address, target))}, which nobody named")
        if response.status_code in AGAIN:
            self._look_at_wait(response, address)
        limit = MOST_PACKED_BYTES if response.headers.get("content-encoding") else MOST_ANSWER_BYTES
        announced = response.headers.get("content-length", "0")
        if not announced.isdigit() or int(announced) > limit:
            raise _too_long(address)
        response.stream = _bounded(response.stream, limit, address)

    def _look_at_wait(self, response: Any, address: str) -> None:
        hub_utils = importlib.import_module("huggingface_hub.utils")
        after = response.headers.get("retry-after", "")
        limits = hub_utils.parse_ratelimit_headers(response.headers)
        asked_s = max(
            int(after) if after.isdigit() else 0,
            limits.reset_in_seconds if limits and limits.remaining == 0 else 0,
        )
        if asked_s > MOST_WAIT_S:
            raise EnvironmentFault(
                "hub-busy",
                f"the hub answers {response.status_code} and asks to wait {asked_s:,} s",
                where=place(address),
                fix="Repeat the command later; what arrived whole is not sent again.",
            )
        wait = f", and asks to wait {asked_s} s" if asked_s else ""
        self._listener.warn(
            f"the hub answered {response.status_code} to {response.request.method} {urlsplit(address).path}{wait}"
        )

    def count(self, sent: int) -> None:
        """Bytes of a body that left."""
        self.check_stop()
        with self._lock:
            self.bytes_sent += sent
            if self.total_bytes:
                done = min(self.bytes_sent, self.total_bytes)
                self._listener.progress("uploading, bytes", done, self.total_bytes)


@contextmanager
def open_line(token: str, listener: Listener, stop: StopFlag | None) -> Iterator[Line]:
    """Let huggingface_hub speak by these rules inside the block, without bars and warnings of its own."""
    hub = library()
    hub_utils = importlib.import_module("huggingface_hub.utils")
    line = Line(hub.constants.ENDPOINT, token, listener, stop)
    usual = hub.get_session()
    client, hooks = type(usual), usual.event_hooks
    logger = logging.getLogger("huggingface_hub")
    level = logger.level

    def by_the_rules() -> Any:
        return client(
            event_hooks={"request": [*hooks["request"], line.on_request], "response": [line.on_response]},
            headers={"Accept-Encoding": "identity"},
            follow_redirects=True,
            timeout=SILENCE_S,
        )

    had_bars = not hub_utils.are_progress_bars_disabled()
    hub.set_client_factory(by_the_rules)
    hub_utils.disable_progress_bars()
    # Its warnings hold addresses of the storage, which are keys to it for an hour.
    logger.setLevel(logging.CRITICAL)
    try:
        yield line
    finally:
        logger.setLevel(level)
        if had_bars:
            hub_utils.enable_progress_bars()
        hub.set_client_factory(lambda: client(event_hooks=hooks, follow_redirects=True, timeout=None))


def httpx_of(hub: ModuleType) -> ModuleType:
    """The HTTP library that huggingface_hub speaks through: httpx with its first version, httpx2 with its second."""
    return importlib.import_module(type(hub.get_session()).__module__.partition(".")[0])


def origin(address: str) -> tuple[str, str, int]:
    """Scheme, host and port."""
    parts = urlsplit(address)
    return parts.scheme, parts.hostname or "", parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)


def place(address: str) -> str:
    """An address without its query, which may be a key."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"[:300]


def _stream_class(stream: Any) -> Any:
    """The class that a body must be of, for the HTTP library in use."""
    module = importlib.import_module(type(stream).__module__.partition(".")[0])
    return module.SyncByteStream


def _counted(stream: Any, line: Line) -> Any:
    class Counted(_stream_class(stream)):  # type: ignore[misc]  # the base is known at run time only
        def __iter__(self) -> Iterator[bytes]:
            for piece in stream:
                yield piece
                line.count(len(piece))

        def close(self) -> None:
            stream.close()

    return Counted()


def _bounded(stream: Any, limit: int, address: str) -> Any:
    class Bounded(_stream_class(stream)):  # type: ignore[misc]  # as above
        def __iter__(self) -> Iterator[bytes]:
            count = 0
            for piece in stream:
                count += len(piece)
                if count > limit:
                    raise _too_long(address)
                yield piece

        def close(self) -> None:
            stream.close()

    return Bounded()


def _too_long(address: str) -> EnvironmentFault:
    return _wrong_answer(f"its answer to {place(address)} is longer than any of this kind")


def _wrong_answer(what: str) -> EnvironmentFault:
    return EnvironmentFault(
        "hub-answer",
        f"the hub answers otherwise than a hub does: {what}",
        why="Nothing more was sent to it.",
        fix="Look at HF_ENDPOINT and at the proxy between: curl -I $HF_ENDPOINT",
    )
