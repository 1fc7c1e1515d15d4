"""Turn the fields of a JSON object into a Row, in one of the three formats of the guide.

A fault names the field and what it holds. Fields that no format uses are let pass; whoever reads counts them.
"""

from collections.abc import Mapping
from typing import Any

from luthier.floor.lookup import did_you_mean
from luthier.text.problems import LineFault
from luthier.text.row import Message, Row, RowKind

__all__ = ["FIELDS", "ROLES", "Message", "Row", "RowKind", "describe", "guess_kind", "make_row"]

FIELDS: Mapping[RowKind, tuple[str, ...]] = {
    "prompt_completion": ("prompt", "completion"),
    "messages": ("messages",),
    "text": ("text",),
}
ROLES = ("system", "developer", "user", "assistant", "tool")
# These change what a message says or whether it is learnt; passing over them would train something else.
REFUSED_MESSAGE_FIELDS = ("tool_calls", "function_call", "tool_call_id", "weight")


def guess_kind(fields: Mapping[str, Any]) -> RowKind:
    """The format whose fields are all there. Raises LineFault if there is none, or more than one."""
    found = [kind for kind, names in FIELDS.items() if all(name in fields for name in names)]
    if len(found) == 1:
        return found[0]
    if found:
        raise LineFault(
            "data-field",
            f"holds the fields of {' and of '.join(found)}; say which to use: data.format={found[0]}",
        )
    wanted = "prompt and completion, messages, or text"
    raise LineFault("data-field", f"has none of the formats' fields ({wanted}); {_present(fields)}")


def make_row(fields: Mapping[str, Any], kind: RowKind, origin: str) -> Row:
    """The row in `fields`. Raises LineFault (data-field) if a field is missing or of another type."""
    for name in FIELDS[kind]:
        if name not in fields:
            raise LineFault(
                "data-field", f"lacks the field {name!r} of format {kind}; {_present(fields, name)}"
            )
    if kind == "messages":
        return Row(kind, origin, messages=_read_messages(fields["messages"]))
    if kind == "text":
        return Row(kind, origin, text=_read_text(fields, "text"))
    return Row(kind, origin, _read_text(fields, "prompt"), _read_text(fields, "completion"))


def _present(fields: Mapping[str, Any], wanted: str = "") -> str:
    if not fields:
        return "the object is empty"
    shown = ", ".join(str(name)[:40] for name in list(fields)[:8])
    return f"it has: {shown}{did_you_mean(wanted, fields) if wanted else ''}"


def _read_text(fields: Mapping[str, Any], name: str) -> str:
    value = fields[name]
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and isinstance(value[0], dict) and "role" in value[0]:
        raise LineFault(
            "data-field",
            f"{name!r} is a list of messages; text is taken there: put all turns into 'messages'",
        )
    raise LineFault("data-field", f"{name!r} is {describe(value)}, not text")


def _read_messages(value: Any) -> tuple[Message, ...]:
    if not isinstance(value, list):
        raise LineFault("data-field", f"'messages' is {describe(value)}, not a list of messages")
    return tuple(_read_message(message, f"messages[{number}]") for number, message in enumerate(value))


def _read_message(value: Any, place: str) -> Message:
    if not isinstance(value, dict):
        raise LineFault("data-field", f"{place} is {describe(value)}, not an object with role and content")
    for name in ("role", "content"):
        if name not in value:
            raise LineFault("data-field", f"{place} lacks {name!r}; {_present(value, name)}")
    for name in REFUSED_MESSAGE_FIELDS:
        if name in value and value[name] is not None:
            raise LineFault("data-field", f"{place} has {name!r}, which is not supported: it would be lost")
    role, content = value["role"], value["content"]
    if role not in ROLES:
        hint = did_you_mean(role, ROLES) if isinstance(role, str) else ""
        raise LineFault(
            "data-field", f"{place}.role is {describe(role)}, not one of {', '.join(ROLES)}{hint}"
        )
    if not isinstance(content, str):
        raise LineFault("data-field", f"{place}.content is {describe(content)}, not text")
    return Message(role, content)


def describe(value: Any) -> str:
    """A JSON value for a message: its type, and its content where that is short."""
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else value[:37] + "...")
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if value is None or isinstance(value, bool):  # asked before numbers: to Python, True is 1
        return str(value).lower().replace("none", "null")
    return f"the number {value}"
