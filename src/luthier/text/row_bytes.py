"""A row as bytes and back, exactly: for a store that hands rows out by number.

JSON of the fields that say something; what a row belongs to is left out, since rows are kept after they are split. Rows that
came as tokens have no text and are never kept so.
"""

import json
from dataclasses import asdict, fields
from typing import Any

from luthier.text.row import Message, Row, ToolCall

CONVERSATIONS = ("messages", "chosen", "rejected")
LEFT_OUT = ("origin", "tokens", "group", "stratum")


def row_bytes(row: Row) -> bytes:
    """What the row says; its origin is kept beside it."""
    assert row.tokens is None, "a row of tokens needs no tokenizing"
    said = {
        field.name: value
        for field in fields(row)
        if field.name not in LEFT_OUT and (value := getattr(row, field.name))
    }
    said |= {name: [_told(message) for message in said[name]] for name in CONVERSATIONS if name in said}
    # Half a surrogate pair, which JSON of a source may hold, is written as it stands there.
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def row_of(content: bytes, origin: str) -> Row:
    """The inverse of `row_bytes`."""
    said: dict[str, Any] = json.loads(content.decode("utf-8", "surrogatepass"))
    said |= {name: tuple(map(_message, said[name])) for name in CONVERSATIONS if name in said}
    return Row(origin=origin, **said)


def _told(message: Message) -> dict[str, Any]:
    """A message; fields that are as they are by default are left out."""
    plain = Message(message.role, message.content)
    return {
        name: value
        for name, value in asdict(message).items()
        if name in ("role", "content") or value != getattr(plain, name)
    }


def _message(told: dict[str, Any]) -> Message:
    calls = tuple(ToolCall(**call) for call in told.pop("tool_calls", ()))
    return Message(**told, tool_calls=calls)
