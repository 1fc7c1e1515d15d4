"""Ask a service over HTTP whether a text is to be kept back; the one file that knows how moderators are spoken to.

The form is that of OpenAI's `/v1/moderations`, which most moderators and guard models can be put behind:
`{"input": TEXT}` in, `{"results": [{"flagged": true}]}` out. The address is the operator's; nothing that a client sends is ever one.
"""

import importlib
import json
import os
from typing import Any, Protocol

from luthier.config.serve import ModeratorConfig
from luthier.floor.errors import EnvironmentFault, UsageError
from luthier.serve.filter.seeker import SearchFailed

MOST_ANSWER_BYTES = 2**20


class Moderator(Protocol):
    """Judges whole texts."""

    every_characters: int
    """A stream is judged in pieces of so many."""

    async def is_flagged(self, text: str) -> bool:
        """Whether the text is to be kept back. Raises SearchFailed."""

    async def close(self) -> None:
        """No text will follow."""


class HttpModerator:
    """A service that was named. Redirects are not followed; proxies of the environment are not used."""

    def __init__(self, config: ModeratorConfig) -> None:
        assert config.url is not None, "asked for without an address"
        self.every_characters = config.every_characters
        self._url, self._timeout_s = config.url, config.timeout_s
        self._httpx: Any = _load_httpx()
        key = _key(config.key_from)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = self._httpx.AsyncClient(headers=headers, trust_env=False, follow_redirects=False)

    async def is_flagged(self, text: str) -> bool:
        """Whether any of the results is flagged. Raises SearchFailed on anything but such an answer in time."""
        import asyncio

        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._ask(text)
            return any(_flag(result) for result in answer["results"])
        except (TimeoutError, self._httpx.HTTPError, self._httpx.InvalidURL) as fault:
            raise SearchFailed(f"the moderator does not answer: {type(fault).__name__}") from fault
        except (ValueError, KeyError, TypeError, RecursionError) as fault:
            raise SearchFailed("the moderator's answer is none") from fault

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _ask(self, text: str) -> Any:
        async with self._client.stream("POST", self._url, json={"input": text}) as response:
            if response.status_code != 200:
                raise ValueError(f"status {response.status_code}")
            body = b""
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > MOST_ANSWER_BYTES:
                    raise ValueError("an answer that is no judgement")
        answer = json.loads(body)
        if not answer["results"]:
            raise ValueError("no result")
        return answer


def _flag(result: Any) -> bool:
    flag = result["flagged"]
    if type(flag) is not bool:
        raise ValueError("flagged is true or false")
    return flag


def _key(variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise UsageError(
            "cfg-missing",
            f"the environment variable {variable} holds no key for the moderator",
            where="serve.filter.moderator.key_from",
            fix=f"Type: export {variable}=KEY",
        )
    return key


def _load_httpx() -> Any:
    try:
        return importlib.import_module("httpx")
    except ModuleNotFoundError as fault:
        what = "a moderator needs the library httpx, which is not installed"
        fix = "Type: pip install 'luthier[serve]'"
        raise EnvironmentFault("env-extra", what, where="serve.filter.moderator", fix=fix) from fault
