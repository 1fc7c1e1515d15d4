"""Ask an OpenAI-compatible endpoint: /chat/completions over HTTP, in bounds, with patience, and nowhere else than was said.

Knows nothing of templates or rows. Only the address that the person named is reached: a redirect is refused, and the key goes
into one header and into no message.
"""

import asyncio
import email.utils
import importlib
import ipaddress
import json
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType, TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from luthier.data.synth.task import Patience
from luthier.floor.errors import EnvironmentFault, UsageError
from luthier.floor.secrets import hide_secrets
from luthier.text.json_lines import check_depth
from luthier.text.problems import LineFault

# A long answer is some 100 kB; what is larger is no answer.
MOST_ANSWER_BYTES = 8 * 2**20
MOST_ERROR_CHARACTERS = 300
MOST_WAIT_S = 120.0
SAY_EVERY_S = 5.0
# Too busy, too slow, or broken for the moment: RFC 9110, RFC 6585 (429), and 529, which some services say when overloaded.
PASSING = {408, 409, 425, 429, 500, 502, 503, 504, 529}
# The key, the address or the account is wrong: every prompt would be refused.
HOPELESS = {401, 402, 403, 404, 405, 407}


class Passing(Exception):
    """No answer this time; `wait_s` is what the endpoint asked for."""

    def __init__(self, what: str, wait_s: float | None = None) -> None:
        super().__init__(what)
        self.wait_s = wait_s


class Refusal(Exception):
    """The endpoint will not answer this prompt; another one perhaps."""


@dataclass(frozen=True)
class Answer:
    """What came back for a prompt."""

    text: str
    finish_reason: str | None
    refusal: str | None
    usage: dict[str, int] | None
    model: str | None


class Endpoint:
    """A connection pool to one endpoint. Use it as an asynchronous context manager."""

    def __init__(
        self, address: str, *, key: str | None, patience: Patience, say: Callable[[str], None]
    ) -> None:
        """`say` is told why something is waited for.

        Raises UsageError for an address that is none, EnvironmentFault (env-extra) if httpx is not installed.
        """
        self.base = check_address(address)
        self._key = key
        self._patience = patience
        self._say = say
        self._said_at = -SAY_EVERY_S
        self._has_answered = False
        self._httpx = import_httpx()
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "luthier"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        self._client = self._httpx.AsyncClient(
            headers=headers,
            timeout=patience.timeout_s,
            follow_redirects=False,
            trust_env=not is_loopback(self.base),  # a proxy is for what lies outside
            limits=self._httpx.Limits(max_connections=patience.concurrency),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def ask(self, body: dict[str, Any]) -> Answer:
        """The answer to one request, asked again while what stands in its way may pass.

        Raises Refusal if the endpoint will not answer this prompt, Passing if patience ran out, EnvironmentFault
        (env-endpoint) if it would answer none.
        """
        for retry in range(self._patience.retries + 1):
            try:
                async with asyncio.timeout(self._patience.timeout_s):
                    answer = await self._ask_once(body)
                self._has_answered = True
                return answer
            except TimeoutError:
                passing = Passing(f"no answer in {self._patience.timeout_s:g} s")
            except self._httpx.ConnectError as fault:
                if not self._has_answered:  # a server that was never there will not come back
                    raise self._unreachable(str(fault)) from fault
                passing = Passing(self._clean(f"cannot be reached: {fault}"))
            except self._httpx.TransportError as fault:
                passing = Passing(self._clean(f"{type(fault).__name__}: {fault}"))
            except Passing as fault:
                passing = fault
            if retry < self._patience.retries:
                wait_s = self._wait_s(retry, passing.wait_s)
                self._tell(f"{passing}; asking again in {wait_s:.1f} s")
                await asyncio.sleep(wait_s)
        raise passing

    def _tell(self, line: str) -> None:
        """At most a line every few seconds, however many wait."""
        if time.monotonic() - self._said_at >= SAY_EVERY_S:
            self._said_at = time.monotonic()
            self._say(line)

    async def _ask_once(self, body: dict[str, Any]) -> Answer:
        async with self._client.stream("POST", f"{self.base}/chat/completions", json=body) as response:
            if response.is_redirect or 300 <= response.status_code < 400:
                raise self._goes_elsewhere(response.headers.get("location", "an unnamed place"))
            content = bytearray()
            async for piece in response.aiter_raw(2**16):
                content += piece
                if len(content) > MOST_ANSWER_BYTES:
                    raise Refusal(f"the answer is larger than {MOST_ANSWER_BYTES:,} bytes")
            if response.status_code != 200:
                self._raise_for(response.status_code, bytes(content), response.headers)
        return read_answer(bytes(content))

    def _raise_for(self, status: int, content: bytes, headers: Any) -> None:
        said = self._clean(error_text(content))
        what = f"HTTP {status}{': ' + said if said else ''}"
        if status in PASSING:
            raise Passing(what, retry_after_s(headers.get("retry-after")))
        if status in HOPELESS:
            raise EnvironmentFault(
                "env-endpoint",
                f"the endpoint refuses: {what}",
                where=self.base,
                why="It would refuse every prompt. What was answered before is kept.",
                fix="Look at --endpoint, --model and --key-from, then type the same line again.",
            )
        raise Refusal(what)

    def _goes_elsewhere(self, place: str) -> EnvironmentFault:
        return EnvironmentFault(
            "env-endpoint",
            f"the endpoint sends on to {self._clean(place)}",
            where=self.base,
            why="Prompts and keys go to the address that was named, and to no other.",
            fix="If that is the right one, name it: --endpoint URL",
        )

    def _unreachable(self, what: str) -> EnvironmentFault:
        return EnvironmentFault(
            "env-endpoint",
            f"the endpoint cannot be reached: {self._clean(what)}",
            where=self.base,
            fix="Start the server, or look at --endpoint; then type the same line again.",
        )

    def _wait_s(self, retry: int, asked_for: float | None) -> float:
        """Twice as long each time, with half of it by chance, so that many askers do not come back together."""
        if asked_for is not None:
            return min(asked_for, MOST_WAIT_S)
        longest = min(self._patience.first_wait_s * 2.0**retry, MOST_WAIT_S)
        return longest * (0.5 + 0.5 * random.random())

    def _clean(self, text: str) -> str:
        """One short line without the key, which some endpoints repeat in what they say."""
        if self._key:
            text = text.replace(self._key, "***")
        return hide_secrets(" ".join(text.split()))[:MOST_ERROR_CHARACTERS]


def import_httpx() -> ModuleType:
    """The HTTP library. Raises EnvironmentFault (env-extra) if it is not installed."""
    try:
        return importlib.import_module("httpx")
    except ImportError as fault:
        raise EnvironmentFault(
            "env-extra",
            "asking an endpoint needs the library httpx",
            fix='Install it: pip install "luthier[synth]"',
        ) from fault


def check_address(address: str) -> str:
    """The address up to and with /v1, without a slash at its end. Raises UsageError if it is none, or holds a secret."""
    fix = "For example: --endpoint http://127.0.0.1:8080/v1"

    def refuse(what: str) -> UsageError:
        return UsageError("usage", what, where="--endpoint", fix=fix)

    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError as fault:
        raise refuse(f"{address!r} is no address: {fault}") from fault
    if parts.username is not None or parts.password is not None:
        fix = "Put the key into an environment variable and name that: --key-from VARIABLE"
        raise refuse("the address holds a name or password, which would be written into every row")
    if parts.scheme not in ("http", "https") or not host:
        raise refuse(f"{address!r} is no http or https address")
    if parts.query or parts.fragment:
        raise refuse(f"{address!r} has more than a path; the address ends in /v1")
    path = parts.path.rstrip("/").removesuffix("/chat/completions")
    return f"{parts.scheme}://{parts.netloc}{path or '/v1'}"


def is_loopback(address: str) -> bool:
    """Whether an address is this machine's own."""
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_key(variable: str | None) -> str | None:
    """The key in an environment variable. Raises UsageError if the variable is not set; its value is never shown."""
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        what = f"the environment variable {variable} {'holds no key' if key else 'is not set'}"
        raise UsageError(
            "usage", what, where="--key-from", fix="Name the variable that holds the key, not the key."
        )
    return key


def retry_after_s(header: str | None) -> float | None:
    """Seconds to wait as RFC 9110, 10.2.3 writes them: a number, or a date."""
    if not header:
        return None
    if header.strip().isascii() and header.strip().isdecimal():
        return float(header.strip()[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def error_text(content: bytes) -> str:
    """What an endpoint says of its refusal: `error.message`, `error`, `detail` or `message`, or the text itself."""
    text = content[: 2**16].decode("utf-8", "replace")
    try:
        check_depth(content[: 2**16])
        found = json.loads(text)
    except (ValueError, LineFault):
        return text
    said = found.get("error", found.get("detail", found.get("message"))) if isinstance(found, dict) else found
    return str(said.get("message", said) if isinstance(said, dict) else said if said is not None else text)


def read_answer(content: bytes) -> Answer:
    """The first choice of a completion. Raises Passing if it is no completion: a proxy's page, a line cut off."""
    try:
        check_depth(content)
        found = json.loads(content)
    except (ValueError, LineFault) as fault:
        raise Passing(f"the answer is no JSON: {str(fault) or type(fault).__name__}") from fault
    try:
        choice = found["choices"][0]
        message = choice["message"]
        text, refusal = message.get("content"), message.get("refusal")
    except (LookupError, TypeError, AttributeError) as fault:
        raise Passing("the answer is no chat completion: it has no choices[0].message") from fault
    if not isinstance(text, (str, type(None))):
        raise Passing("the answer is no chat completion: its content is not text")
    reason, model = choice.get("finish_reason"), found.get("model")
    return Answer(
        text=(text or "").encode("utf-8", "replace").decode("utf-8"),  # half a surrogate pair is no text
        finish_reason=reason if isinstance(reason, str) else None,
        refusal=refusal if isinstance(refusal, str) and refusal else None,
        usage=_read_usage(found.get("usage")),
        model=model if isinstance(model, str) else None,
    )


def _read_usage(found: Any) -> dict[str, int] | None:
    """The token counts, if they are numbers that can be believed."""
    if not isinstance(found, dict):
        return None
    names = ("prompt_tokens", "completion_tokens")
    counts = {name: found.get(name) for name in names}
    if not all(isinstance(count, int) and 0 <= count < 2**40 for count in counts.values()):
        return None
    return {name: int(count) for name, count in counts.items() if count is not None}
