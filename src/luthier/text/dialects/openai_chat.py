"""Read rows in the form that OpenAI's fine-tuning takes: messages of parts, tool calls, legacy functions, weights."""

from collections.abc import Mapping
from typing import Any

from luthier.text.dialects.tools import call_text, read_call, read_tools
from luthier.text.dialects.turns import (
    CALL_ROLE,
    IMAGE_LEFT_OUT,
    Choices,
    Reading,
    Turn,
    add_turn,
    need_object,
    need_text,
    read_role,
    read_weight,
)
from luthier.text.problems import LineFault, describe

CALL_LEFT_OUT = "tool call left out of a message that says something too"
TEXT_PARTS = ("text", "input_text", "output_text", "refusal")
# They change what a message says, and nothing here writes them.
UNHEARD = ("reasoning_content", "reasoning", "thinking", "audio", "images")
UNHEARD_FIX = "Write what was thought into the content as <think>...</think>, or take the field out."


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
    messages = record["messages"]
    if not isinstance(messages, list):
        raise LineFault("data-field", f"'messages' is {describe(messages)}, not a list of messages")
    reading = read_messages(messages, "messages", choices)
    reading.tools = read_tools(record)
    return reading


def read_messages(messages: list[Any], place: str, choices: Choices) -> Reading:
    """A thread from a list of messages."""
    reading = Reading(messages=len(messages))
    thread: list[Turn] = []
    for number, value in enumerate(messages):
        where = f"{place}[{number}]"
        for turn in _turns_of(need_object(value, where), number, where, choices):
            add_turn(reading, thread, turn, choices)
    reading.threads.append(thread)
    return reading


def _turns_of(message: Mapping[str, Any], number: int, where: str, choices: Choices) -> list[Turn]:
    """What is said, and the calls beside it."""
    if choices.is_exact:
        _check_whole(message, where)
    role = read_role(message.get("role"), f"{where}.role")
    weight = read_weight(message, where)
    text, left_out = _content(message, where, choices)
    notes = (IMAGE_LEFT_OUT,) if left_out else ()
    calls = _calls(message, where)
    if choices.tools == "keep":
        made = tuple(read_call(call, where, id=id) for id, call in calls)
        id, name = need_text(message.get("tool_call_id"), f"{where}.tool_call_id"), message.get("name")
        return [Turn(role, text, (number,), notes, weight, made, id, need_text(name, f"{where}.name"))]
    lines = [call_text(call, where) for _, call in calls]
    if not lines:
        return [Turn(role, text, (number,), notes, weight)]
    if not text.strip():
        return [Turn(CALL_ROLE, "\n".join(lines), (number,), notes, weight)]
    if choices.tools == "drop":
        return [Turn(role, text, (number,), (*notes, CALL_LEFT_OUT), weight)]
    return [Turn(role, "\n".join([text, *lines]), (number,), notes, weight)]


def _check_whole(message: Mapping[str, Any], where: str) -> None:
    """Raise LineFault (data-field) for what is missing, and for what would be lost."""
    if "role" not in message:
        raise LineFault("data-field", f"{where} lacks 'role'; it has: {_names(message)}")
    if "content" not in message and not any(
        message.get(name) for name in ("tool_calls", "function_call", "refusal")
    ):
        raise LineFault("data-field", f"{where} lacks 'content'; it has: {_names(message)}")
    for name in UNHEARD:
        if message.get(name):
            what = f"{where} has {name!r}, which no row holds: it would be lost"
            raise LineFault("data-field", what, fix=UNHEARD_FIX)
    if message.get("content") and message.get("refusal"):
        raise LineFault("data-field", f"{where} has content and refusal; one of them would be lost")
    if (message.get("tool_calls") or message.get("function_call")) and message.get("role") != "assistant":
        raise LineFault("data-field", f"{where} calls a tool, which only the assistant does")


def _names(message: Mapping[str, Any]) -> str:
    return ", ".join(str(name)[:40] for name in list(message)[:8]) or "nothing"


def _content(message: Mapping[str, Any], where: str, choices: Choices) -> tuple[str, int]:
    """The text of a message, and how many parts of it are none."""
    content = message.get("content")
    if content is None:
        refusal = message.get("refusal")
        if (
            choices.is_exact
            and refusal is None
            and not (message.get("tool_calls") or message.get("function_call"))
        ):
            raise LineFault("data-field", f"{where}.content is null, and the message calls no tool")
        return need_text(refusal, f"{where}.refusal"), 0
    if not isinstance(content, list):
        return need_text(content, f"{where}.content"), 0
    texts = []
    for at, value in enumerate(content):
        part = need_object(value, f"{where}.content[{at}]")
        if part.get("type") in TEXT_PARTS:
            key = "refusal" if part["type"] == "refusal" else "text"
            if choices.is_exact and part.get(key) is None:
                raise LineFault("data-field", f"{where}.content[{at}] lacks {key!r}")
            texts.append(need_text(part.get(key), f"{where}.content[{at}].{key}"))
        elif choices.is_exact:
            raise LineFault(
                "data-field", f"{where}.content[{at}].type is {describe(part.get('type'))}: {NO_TEXT}"
            )
    return "\n".join(texts), len(content) - len(texts)


def _calls(message: Mapping[str, Any], where: str) -> list[tuple[Any, dict[str, Any]]]:
    """The id and the function of every call."""
    found = message.get("tool_calls") or []
    if not isinstance(found, list):
        raise LineFault("data-field", f"{where}.tool_calls is {describe(found)}, not a list")
    calls = []
    for at, value in enumerate(found):
        place = f"{where}.tool_calls[{at}]"
        call = need_object(value, place)
        calls.append((call.get("id"), need_object(call.get("function"), f"{place}.function")))
    if message.get("function_call") is not None:
        calls.append((None, need_object(message["function_call"], f"{where}.function_call")))
    return calls


NO_TEXT = (
    "only text can be learnt, and a picture, a sound or a file left out would change what the answer answers"
)
