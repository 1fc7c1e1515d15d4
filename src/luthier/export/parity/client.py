"""Ask a server that was named by its address, over OpenAI's API and the few routes beside it that tell tokens.

Nothing else is asked, no redirect is followed, no proxy of the environment is used, and no answer is read beyond a bound.
"""

import json
from dataclasses import dataclass
from typing import Any

from luthier.floor.errors import EnvironmentFault

CONNECT_S = 10.0
# The longest that a server may be silent: a long prompt on a slow machine is read before the first word.
SILENT_S = 600.0
LARGEST_PAGE = 2**24
MOST_SAID = 300
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

    def __init__(self, address: str, key: str | None) -> None:
        """Raises EnvironmentFault env-extra if httpx is missing."""
        try:
            import httpx
        except ImportError as fault:
            raise EnvironmentFault(
                "env-extra",
                "asking a server needs httpx, which is not installed",
                fix='Install it: pip install "luthier[serve]"',
            ) from fault
        self._httpx = httpx
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

    def _ask(self, method: str, path: str, body: Json | None) -> Any:
        try:
            with self._client.stream(method, f"{self.root}{path}", json=body) as response:
                page = bytearray()
                for part in response.iter_bytes():
                    page += part
                    if len(page) > LARGEST_PAGE:
                        raise self.strange(path, f"sends more than {LARGEST_PAGE:,} bytes")
        except (self._httpx.HTTPError, self._httpx.InvalidURL) as fault:
            raise self.strange(path, f"cannot be reached: {fault or type(fault).__name__}") from fault
        try:
            told = json.loads(page)
        except (ValueError, RecursionError):
            told = None
        if response.status_code in REFUSALS:
            return Refused(response.status_code, _reason(told))
        if response.status_code != 200:
            raise self.strange(path, f"answers with status {response.status_code}: {_reason(told)}")
        if told is None:
            raise self.strange(path, "answers with something that is no JSON")
        return told


def _reason(told: Any) -> str:
    """What a server says of its refusal, in OpenAI's form or another."""
    found = told.get("error", told) if isinstance(told, dict) else told
    if isinstance(found, dict):
        found = found.get("message") or found.get("detail")
    return str(found)[:MOST_SAID] if found else "no reason given"
