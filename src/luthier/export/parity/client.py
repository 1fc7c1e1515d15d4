"""Ask a server that was named by its address, over OpenAI's API and the few routes beside it that tell tokens.

Nothing else is asked, no redirect is followed, no proxy of the environment is used, and no answer is read beyond a bound.
"""

import json
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from luthier.floor.errors import EnvironmentFault, UsageError
from luthier.floor.stop import StopFlag

CONNECT_S = 10.0
# The longest that a server may be silent: a long prompt on a slow machine is read before the first word.
SILENT_S = 600.0
LARGEST_PAGE = 2**24
MOST_SAID = 300
STOPPED = "the verification was stopped; nothing of it is kept"
REPEAT = "Repeat the command."
BUSY = (429, 503)
MOST_TRIES = 5
LONGEST_PAUSE_S, USUAL_PAUSE_S = 60.0, 2.0
REFUSALS = (400, 404, 405, 413, 415, 422, 501)
"""What is said of a request or a route that the server does not take, and not of the server."""
Json = dict[str, Any]


@dataclass(frozen=True)
class Refused:
    """The server does not take the request."""

    status: int
    why: str


class Client:
    """A server. Close it, or use it as a context manager."""

    def __init__(self, address: str, key: str | None, *, stop: StopFlag | None = None) -> None:
        """Raises UsageError if the address is none, EnvironmentFault env-extra if httpx is missing."""
        _judge_address(address)
        try:
            import httpx
        except ImportError as fault:
            raise EnvironmentFault(
                "env-extra",
                "asking a server needs httpx, which is not installed",
                fix='Install it: pip install "luthier[serve]"',
            ) from fault
        self._httpx = httpx
        self._stop = stop
        self.root = address.rstrip("/").removesuffix("/v1")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(
            headers=headers,
            timeout=httpx.Timeout(SILENT_S, connect=CONNECT_S),
            trust_env=False,
            follow_redirects=False,
        )

    def models(self) -> list[Json]:
        """What the server says it serves. Raises EnvironmentFault env-endpoint if it does not answer as OpenAI's API does."""
        told = self.get("/v1/models")
        listed = told.get("data") if isinstance(told, dict) else None
        if not isinstance(listed, list) or not all(
            isinstance(each, dict) and isinstance(each.get("id"), str) for each in listed
        ):
            raise self.strange("/v1/models", "answers in a form that is not OpenAI's")
        if not listed:
            raise self.strange("/v1/models", "names no model")
        return listed

    def get(self, path: str) -> Any:
        """A page as JSON. Raises EnvironmentFault env-endpoint."""
        found = self._ask("GET", path, None)
        if isinstance(found, Refused):
            raise self.strange(path, f"answers with status {found.status}: {found.why}")
        return found

    def post(self, path: str, body: Json) -> Json | Refused:
        """What a request brings. Raises EnvironmentFault env-endpoint if the server cannot be reached, fails, or keeps its door shut."""
        found = self._ask("POST", path, body)
        if not isinstance(found, dict | Refused):
            raise self.strange(path, "answers in a form that is not OpenAI's")
        return found

    def strange(self, path: str, what: str) -> EnvironmentFault:
        """A server that is not what it was taken for."""
        return EnvironmentFault(
            "env-endpoint",
            f"{self.root}{path} {what}",
            where="the command line",
            fix=f"See whether it answers: curl {self.root}/v1/models",
        )

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def check(self) -> None:
        """Raise what StopFlag.check raises."""
        if self._stop is not None:
            self._stop.check(STOPPED, fix=REPEAT)

    def _ask(self, method: str, path: str, body: Json | None) -> Any:
        for attempt in range(1, MOST_TRIES + 1):
            self.check()
            status, headers, page = self._exchange(method, path, body)
            if status not in BUSY or attempt == MOST_TRIES or not self._waits(headers):
                break
        try:
            told = json.loads(page)
        except (ValueError, RecursionError):
            told = None
        if status in REFUSALS:
            return Refused(status, _reason(told))
        if status != 200:
            raise self.strange(path, f"answers with status {status}: {_reason(told)}")
        if told is None:
            raise self.strange(path, "answers with something that is no JSON")
        return told

    def _exchange(self, method: str, path: str, body: Json | None) -> tuple[int, Any, bytes]:
        """Status, headers and the whole of a page."""
        page = bytearray()
        try:
            with self._client.stream(method, f"{self.root}{path}", json=body) as response:
                for part in response.iter_bytes():
                    page += part
                    if len(page) > LARGEST_PAGE:
                        raise self.strange(path, f"sends more than {LARGEST_PAGE:,} bytes")
        except (self._httpx.HTTPError, self._httpx.InvalidURL) as fault:
            raise self.strange(path, f"cannot be reached: {fault or type(fault).__name__}") from fault
        return response.status_code, response.headers, bytes(page)

    def _waits(self, headers: Any) -> bool:
        """Wait for as long as a busy server asks for; False, at once, if that is too long."""
        asked = headers.get("retry-after", "")
        pause_s = float(asked) if asked.isdecimal() else USUAL_PAUSE_S
        if pause_s > LONGEST_PAUSE_S:
            return False
        until = time.monotonic() + pause_s
        while (left := until - time.monotonic()) > 0:
            self.check()
            time.sleep(min(0.2, left))
        return True


def _judge_address(address: str) -> None:
    """Raise UsageError if an address holds more than a host, a port and a path; what else it holds is not shown."""
    try:
        parts = urlsplit(address)
        is_plain = bool(parts.hostname) and not (
            parts.username or parts.password or parts.query or parts.fragment
        )
        parts.port  # noqa: B018  # raises if it is no number
    except ValueError:
        is_plain = False
    if not is_plain:
        raise UsageError(
            "usage",
            "the address is not of the form http://HOST:PORT or http://HOST:PORT/v1",
            where="the command line",
            why="Names, passwords and queries in it would stand in reports.",
            fix="A key goes into a variable of the environment: --key-from VARIABLE",
        )


def _reason(told: Any) -> str:
    """What a server says of its refusal, in OpenAI's form or another."""
    found = told.get("error", told) if isinstance(told, dict) else told
    if isinstance(found, dict):
        found = found.get("message") or found.get("detail")
    return str(found)[:MOST_SAID] if found else "no reason given"
