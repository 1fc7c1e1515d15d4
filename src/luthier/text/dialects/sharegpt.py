"""Read ShareGPT rows and their variants: turns of from/value or role/content under one of several keys, with tools or without."""

from collections.abc import Mapping
from typing import Any

from luthier.text.dialects.tools import call_text, read_call, read_tools
from luthier.text.dialects.turns import (
    CALL_ROLE,
    Choices,
    Reading,
    Turn,
    add_turn,
    need_object,
    need_text,
    read_role,
    read_weight,
)
from luthier.text.json_lines import parse_inner
from luthier.text.problems import LineFault

LISTS = ("conversations", "conversation", "items", "messages")
SPEAKERS = ("from", "role")
TEXTS = ("value", "content", "text")
SYSTEM_FIELDS = ("system", "system_prompt")


def missing(record: Mapping[str, Any]) -> list[str]:
    """What an object lacks to be a ShareGPT row."""
    name = _list_name(record)
    if not name:
        return [f"{LISTS[0]} (a list)"]
    first = record[name][0]
    if not isinstance(first, dict):
        return [f"{name} whose items are objects"]
    wanted = (SPEAKERS, TEXTS)
    return [f"{name}[0].{names[0]}" for names in wanted if not any(each in first for each in names)]


def read(record: Mapping[str, Any], choices: Choices) -> Reading:
    """The one thread of a row. Raises LineFault naming the turn that cannot be read."""
    name = _list_name(record)
    system = next((record[key] for key in SYSTEM_FIELDS if record.get(key)), None)
    turns = record[name]
    reading = Reading(messages=len(turns) + (system is not None))
    thread: list[Turn] = []
    for number, value in enumerate(turns):
        where = f"{name}[{number}]"
        add_turn(reading, thread, _turn(need_object(value, where), number, where, choices), choices)
    if system is not None:
        thread.insert(0, Turn("system", need_text(system, "system"), (len(turns),)))
    reading.threads.append(thread)
    reading.tools = read_tools(record)
    return reading


def _list_name(record: Mapping[str, Any]) -> str:
    """The key of the turns; nothing if there is none."""
    return next((name for name in LISTS if isinstance(record.get(name), list) and record[name]), "")


def _turn(turn: Mapping[str, Any], number: int, where: str, choices: Choices) -> Turn:
    speaker = next((name for name in SPEAKERS if name in turn), SPEAKERS[0])
    said = next((name for name in TEXTS if name in turn), None)
    if said is None:
        raise LineFault(
            "data-field", f"{where} lacks {TEXTS[0]!r}; it has: {', '.join(map(str, turn))}"[:200]
        )
    role = read_role(turn.get(speaker), f"{where}.{speaker}")
    text, weight = need_text(turn[said], f"{where}.{said}"), read_weight(turn, where)
    if role == CALL_ROLE and text.strip() and choices.tools != "drop":
        calls = _calls(text, where)
        if choices.tools == "keep":
            return Turn(role, "", (number,), (), weight, tuple(read_call(call, where) for call in calls))
        text = "\n".join(call_text(call, where) for call in calls)
    return Turn(role, text, (number,), (), weight)


def _calls(text: str, where: str) -> list[dict[str, Any]]:
    """The calls in a turn. Raises LineFault if they are not the JSON that they should be."""
    value = parse_inner(text, f"{where}, a call,")
    return [need_object(call, where) for call in (value if isinstance(value, list) else [value])]
