"""Read the body of a request within its bounds, and judge it once: size, type, encoding, JSON, depth, then the shape.

Size is judged before anything is kept, and again while it comes in. A refusal names the field and its bound, never what else was sent.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.datastructures import Headers

from luthier.serve.refusal import Refusal
from luthier.serve.settings import ServerSettings

Receive = Callable[[], Awaitable[Any]]
Read = TypeVar("Read", bound=BaseModel)
LONGEST_SHOWN = 80
# Of a body that is refused for its size.
DISCARD_S = 1.0
DISCARD_BYTES = 64 * 2**20
# Only an escape can bring one in: bytes that spell one are no UTF-8.
_SURROGATE = re.compile("[\ud800-\udfff]")
MOST_FIELDS_TOLD = 5


class ClientGone(Exception):
    """The client left before its request was whole."""


async def read_json(headers: Headers, receive: Receive, settings: ServerSettings) -> dict[str, Any]:
    """The JSON object in the body. Raises Refusal, ClientGone."""
    _judge_headers(headers)
    if int(headers.get("content-length", "0")) > settings.most_body_bytes:
        await _discard(receive)
        raise _too_large(settings.most_body_bytes)
    try:
        async with asyncio.timeout(settings.body_s):
            raw = await _read(receive, settings.most_body_bytes)
    except TimeoutError as fault:
        raise Refusal(
            408,
            "api-timeout",
            f"the body did not come whole within {settings.body_s:g} s",
            headers={"Connection": "close"},
        ) from fault
    return parse_object(raw, most_depth=settings.most_depth)


def parse_object(raw: bytes, *, most_depth: int) -> dict[str, Any]:
    """The JSON object in these bytes: UTF-8, no NaN, no key twice, not nested deeper than `most_depth`."""
    if not raw.strip():
        raise Refusal(400, "api-body", "the body is empty: a JSON object is wanted")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as fault:
        raise Refusal(400, "api-body", f"the body is not UTF-8: byte {fault.start} fits none") from fault
    try:
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_distinct)
    except RecursionError as fault:
        raise _too_deep(most_depth) from fault
    except ValueError as fault:
        raise Refusal(400, "api-body", f"the body is not JSON: {str(fault)[:LONGEST_SHOWN]}") from fault
    if not isinstance(value, dict):
        raise Refusal(400, "api-body", "the body is not a JSON object")
    if _is_deeper(value, most_depth):
        raise _too_deep(most_depth)
    if "\\u" in text and _SURROGATE.search(json.dumps(value, ensure_ascii=False)):
        raise Refusal(400, "api-field", "a text holds half of a surrogate pair, which is no Unicode text")
    return value


def judge(shape: type[Read], value: dict[str, Any]) -> Read:
    """The request that an object describes. Raises Refusal naming the fields at fault."""
    try:
        return shape.model_validate(value)
    except ValidationError as fault:
        found = _distinct_faults(fault.errors(include_url=False, include_input=False), value)
    told = "; ".join(f"{place}: {what}" if place else what for place, what in found[:MOST_FIELDS_TOLD])
    if len(found) > MOST_FIELDS_TOLD:
        told += f"; and {len(found) - MOST_FIELDS_TOLD} more"
    raise Refusal(400, "api-field", told, param=found[0][0] or None)


def _judge_headers(headers: Headers) -> None:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal(415, "api-type", "the body must be of type application/json")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal(415, "api-type", "compressed bodies are not taken")


async def _discard(receive: Receive) -> None:
    """Let a while of what comes go by unkept: a connection that is closed before is reset, and the client never reads why."""
    passed_bytes = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DISCARD_S):
            while passed_bytes < DISCARD_BYTES:
                message = await receive()
                passed_bytes += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return


async def _read(receive: Receive, most_bytes: int) -> bytes:
    raw = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        raw += message.get("body", b"")
        if len(raw) > most_bytes:
            await _discard(receive)
            raise _too_large(most_bytes)
        if not message.get("more_body", False):
            return bytes(raw)


def _too_large(most_bytes: int) -> Refusal:
    # The rest of the body is not read, so the connection cannot be used again.
    return Refusal(
        413, "api-size", f"the body is larger than {most_bytes} bytes", headers={"Connection": "close"}
    )


def _too_deep(most_depth: int) -> Refusal:
    return Refusal(400, "api-depth", f"the body is nested deeper than {most_depth} levels")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:LONGEST_SHOWN]!r} stands there twice")
    return found


def _is_deeper(value: Any, most_depth: int) -> bool:
    level: list[Any] = [value]
    for _ in range(most_depth):
        level = [
            inner
            for each in level
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _distinct_faults(faults: Sequence[Any], value: dict[str, Any]) -> list[tuple[str, str]]:
    """Place and fault of each, a place once: of a union's members all complain, and the first stands for them."""
    found: dict[str, str] = {}
    for fault in faults:
        found.setdefault(_place(fault["loc"], value), _in_words(fault))
    return list(found.items())


def _in_words(fault: Any) -> str:
    if fault["type"] == "extra_forbidden":
        return "is not a field that this server knows"
    if fault["type"] == "union_tag_invalid":
        return (
            f"{fault['ctx']['discriminator'].strip(chr(39))} must be one of {fault['ctx']['expected_tags']}"
        )
    if fault["type"] == "missing":
        return "is missing"
    text = str(fault["msg"]).removeprefix("Value error, ")
    return text[:1].lower() + text[1:]


def _place(location: Sequence[str | int], value: Any) -> str:
    """`messages.0.role`: the parts of a place that lead through what was sent; pydantic also names members of unions."""
    parts: list[str] = []
    for part in location:
        is_last = part == location[-1]
        if (
            isinstance(value, dict)
            and isinstance(part, str)
            and (part in value or (is_last and "[" not in part))
        ):
            value = value.get(part)
            parts.append(part[:LONGEST_SHOWN])
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
            parts.append(str(part))
    return ".".join(parts)
