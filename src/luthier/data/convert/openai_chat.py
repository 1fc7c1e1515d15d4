"""Read rows in the form that OpenAI's fine-tuning takes: messages of parts, tool calls, legacy functions, weights."""

import json
from collections.abc import Mapping
from typing import Any

from luthier.data.convert.turns import (
    CALL_ROLE,
    IMAGE_LEFT_OUT,
    Choices,
    Reading,
    Turn,
    add_turn,
    need_object,
    need_text,
    read_role,
)
from luthier.text.problems import LineFault
from luthier.text.row_shapes import describe

HAS_WEIGHT_0 = "a turn has weight 0, which rows cannot say yet"
CALL_LEFT_OUT = "tool call left out of a message that says something too"
TEXT_PARTS = ("text", "input_text", "output_text", "refusal")


def missing(record: Mapping[str, Any]) -> list[str]:
    """What an object lacks to be a row of OpenAI chat."""
    messages = record.get("messages")
    if not isinstance(messages, list) or not messages:
        return ["messages (a list)"]
    first = messages[0]
    if not isinstance(first, dict):
        return ["messages that are objects"]
    return [f"messages[0].{name}" for name in ("role",) if name not in first]


def read(record: Mapping[str, Any], choices: Choices) -> Reading:
    """The one thread of a row. Raises LineFault naming the message that cannot be read."""
    return read_messages(record["messages"], "messages", choices)


def read_messages(messages: list[Any], place: str, choices: Choices) -> Reading:
    """A thread from a list of messages."""
    reading = Reading(messages=len(messages))
    thread: list[Turn] = []
    for number, value in enumerate(messages):
        where = f"{place}[{number}]"
        message = need_object(value, where)
        if has_weight_0(message, where):
            reading.reason = HAS_WEIGHT_0
        for turn in _turns_of(message, number, where, choices):
            add_turn(reading, thread, turn, choices.tools)
    if not reading.reason:
        reading.threads.append(thread)
    return reading


def has_weight_0(message: Mapping[str, Any], where: str) -> bool:
    """Whether a message is in the context but not to be learnt. Raises LineFault for a weight that is neither 0 nor 1."""
    weight = message.get("weight")
    if weight is not None and (isinstance(weight, bool) or weight not in (0, 1)):
        raise LineFault("data-field", f"{where}.weight is {describe(weight)}, neither 0 nor 1")
    return weight == 0 and weight is not None


def call_text(name: Any, arguments: Any, where: str) -> str:
    """A tool call as text: one line of JSON with its name and arguments. Raises LineFault if it has no name."""
    if not isinstance(name, str) or not name:
        raise LineFault("data-field", f"{where} is a call without a name")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError) as fault:
            raise LineFault("data-field", f"{where}.arguments is no JSON: {describe(arguments)}") from fault
    return json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)


def _turns_of(message: Mapping[str, Any], number: int, where: str, choices: Choices) -> list[Turn]:
    """What is said, and the calls beside it."""
    role = read_role(message.get("role"), f"{where}.role")
    text, left_out = _content(message, where)
    calls = [call_text(name, arguments, where) for name, arguments in _calls(message, where)]
    notes = (IMAGE_LEFT_OUT,) if left_out else ()
    if not calls:
        return [Turn(role, text, (number,), notes)]
    if not text.strip():
        return [Turn(CALL_ROLE, "\n".join(calls), (number,), notes)]
    if choices.tools == "drop":
        return [Turn(role, text, (number,), (*notes, CALL_LEFT_OUT))]
    return [Turn(role, "\n".join([text, *calls]), (number,), notes)]


def _content(message: Mapping[str, Any], where: str) -> tuple[str, int]:
    """The text of a message, and how many parts of it are none."""
    content = message.get("content")
    if content is None:
        return need_text(message.get("refusal"), f"{where}.refusal"), 0
    if not isinstance(content, list):
        return need_text(content, f"{where}.content"), 0
    texts = []
    for at, value in enumerate(content):
        part = need_object(value, f"{where}.content[{at}]")
        if part.get("type") in TEXT_PARTS:
            key = "refusal" if part["type"] == "refusal" else "text"
            texts.append(need_text(part.get(key), f"{where}.content[{at}].{key}"))
    return "\n".join(texts), len(content) - len(texts)


def _calls(message: Mapping[str, Any], where: str) -> list[tuple[Any, Any]]:
    found = message.get("tool_calls") or []
    if not isinstance(found, list):
        raise LineFault("data-field", f"{where}.tool_calls is {describe(found)}, not a list")
    calls = [need_object(need_object(call, where).get("function"), f"{where}.tool_calls") for call in found]
    if message.get("function_call") is not None:
        calls.append(need_object(message["function_call"], f"{where}.function_call"))
    return [(call.get("name"), call.get("arguments", {})) for call in calls]
