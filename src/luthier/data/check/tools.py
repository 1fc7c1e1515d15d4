"""Judge tool calls: that arguments parse once to an object, that tools are declared, that every call is answered by its id."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from luthier.data.check.conversation import Turn
from luthier.data.check.kinds import Fault
from luthier.data.check.places import Path, spell
from luthier.data.check.view import View
from luthier.floor.lookup import did_you_mean
from luthier.text.problems import describe


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool or of a legacy function, and where it stands."""

    path: Path
    id: Any
    function: Any
    arguments_path: Path


def check_tools(view: View) -> Iterator[Fault]:
    """What is wrong with the calls of a conversation in OpenAI's form, and with ShareGPT's as far as they are the same."""
    if view.shape == "sharegpt":
        yield from _sharegpt_calls(view)
        return
    if not view.turns or not _has_tools(view):
        return
    declared, faults = _declared(view.fields)
    yield from faults
    waiting: dict[Any, Path] = {}
    answered: set[Any] = set()
    for turn in view.turns:
        if turn.role == "tool":
            yield from _answer(turn, waiting, answered)
        elif turn.role == "function":
            if not isinstance(turn.message.get("name"), str):
                yield Fault(
                    "tool-shape",
                    f"{spell(turn.path)} answers a function and does not name it",
                    "give it the function's name",
                )
        elif waiting:
            yield from _unanswered(waiting)
            waiting = {}
        for call in calls_of(turn):
            yield from _call(call, declared)
            if call.id is not None:
                waiting[_key(call.id)] = call.path
    # Calls that the conversation ends with are what it teaches: nobody has to answer them.
    if waiting and view.turns[-1].role == "tool":
        yield from _unanswered(waiting)


def calls_of(turn: Turn) -> list[Call]:
    """The calls of a message, tools first, the legacy function last."""
    found = []
    calls = turn.message.get("tool_calls")
    for number, call in enumerate(calls if isinstance(calls, list) else []):
        path = (*turn.path, "tool_calls", number)
        if isinstance(call, Mapping):
            found.append(Call(path, call.get("id"), call.get("function"), (*path, "function", "arguments")))
        else:
            found.append(Call(path, None, None, path))
    legacy = turn.message.get("function_call")
    if legacy is not None:
        path = (*turn.path, "function_call")
        found.append(Call(path, None, legacy, (*path, "arguments")))
    return found


def decode_arguments(text: str) -> tuple[Any, int]:
    """What a text of arguments holds, and how often it was encoded. Raises ValueError if it is not JSON."""
    value: Any = text
    for times in range(1, 4):
        try:
            value = json.loads(value)
        except RecursionError as fault:
            raise ValueError("nested too deep") from fault
        if not isinstance(value, str):
            return value, times
    return value, times


def _has_tools(view: View) -> bool:
    if any(view.fields.get(name) is not None for name in ("tools", "functions")):
        return True
    names = ("tool_calls", "function_call", "tool_call_id")
    return any(
        turn.role in ("tool", "function") or any(name in turn.message for name in names)
        for turn in view.turns
    )


def _declared(fields: Mapping[str, Any]) -> tuple[set[str] | None, list[Fault]]:
    """The names of the tools that a row declares, None where it declares none, and what is wrong with them."""
    found: set[str] = set()
    faults: list[Fault] = []
    lists = [(name, fields[name]) for name in ("tools", "functions") if fields.get(name) is not None]
    for name, tools in lists:
        if not isinstance(tools, list):
            faults.append(
                Fault("tool-shape", f"'{name}' is {describe(tools)}, not a list", "write a list of tools")
            )
            continue
        for number, tool in enumerate(tools):
            function = tool.get("function") if isinstance(tool, Mapping) and name == "tools" else tool
            said = function.get("name") if isinstance(function, Mapping) else None
            if isinstance(said, str) and said:
                found.add(said)
            else:
                faults.append(Fault("tool-shape", f"{name}[{number}] names no function"))
    return (found if lists else None), faults


def _call(call: Call, declared: Any) -> Iterator[Fault]:
    place = spell(call.path)
    function = call.function
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        yield Fault("tool-shape", f"{place} names no function", "give it a function with name and arguments")
        return
    if call.path[-1] != "function_call" and not isinstance(call.id, str):
        yield Fault(
            "tool-shape",
            f"{place}.id is {describe(call.id)}, so that no answer can name it",
            "give the call an id",
        )
    name = function["name"]
    if declared is None:
        yield Fault("tool-undeclared", f"{place} calls {describe(name)}, and the row declares no tools")
    elif name not in declared:
        yield Fault(
            "tool-undeclared",
            f"{place} calls {describe(name)}, which is not declared{did_you_mean(name, declared)}",
        )
    yield from _arguments(function.get("arguments"), spell(call.arguments_path))


def _arguments(arguments: Any, place: str) -> Iterator[Fault]:
    if isinstance(arguments, Mapping):
        yield Fault(
            "tool-shape",
            f"{place} is an object; OpenAI's form has it as text",
            "write the object as JSON text",
        )
        return
    if not isinstance(arguments, str):
        yield Fault("tool-arguments", f"{place} is {describe(arguments)}, not JSON text")
        return
    try:
        value, times = decode_arguments(arguments)
    except ValueError as fault:
        yield Fault("tool-arguments", f"{place} is not JSON: {describe(arguments)} ({fault})")
        return
    if isinstance(value, Mapping) and times == 1:
        return
    if isinstance(value, Mapping):
        yield Fault(
            "tool-arguments-twice",
            f"{place} is JSON encoded {'twice' if times == 2 else 'three times'}: {describe(arguments)}",
        )
    else:
        yield Fault("tool-arguments", f"{place} holds {describe(value)}, not an object")


def _answer(turn: Turn, waiting: dict[Any, Path], answered: set[Any]) -> Iterator[Fault]:
    place, id = spell((*turn.path, "tool_call_id")), turn.message.get("tool_call_id")
    if id is None:
        yield Fault("tool-unknown-id", f"{place} is missing: the answer names no call")
    elif _key(id) in waiting:
        del waiting[_key(id)]
        answered.add(_key(id))
    elif _key(id) in answered:
        yield Fault("tool-unknown-id", f"{place} is {describe(id)}, a call that was answered before")
    else:
        ids = [each for each in waiting if isinstance(each, str)]
        near = did_you_mean(id, ids) if isinstance(id, str) else ""
        yield Fault("tool-unknown-id", f"{place} is {describe(id)}, and no call before it has that id{near}")


def _unanswered(waiting: Mapping[Any, Path]) -> Iterator[Fault]:
    for id, path in waiting.items():
        yield Fault("tool-unanswered", f"{spell(path)} (id {id!r}) is not answered before the next turn")


def _key(id: Any) -> str:
    return id if isinstance(id, str) else json.dumps(id, sort_keys=True)


def _sharegpt_calls(view: View) -> Iterator[Fault]:
    """Calls are turns of JSON with name and arguments, tools a JSON text of a list."""
    declared = _sharegpt_declared(view.fields.get("tools"))
    for number, turn in enumerate(view.turns):
        if not turn.calls or not turn.texts:
            continue
        place = spell(turn.texts[0].path)
        try:
            value = json.loads(turn.texts[0].text)
        except (ValueError, RecursionError) as fault:
            yield Fault("tool-arguments", f"{place} calls a tool and is not JSON ({fault})")
            continue
        name = value.get("name") if isinstance(value, Mapping) else None
        if not isinstance(name, str):
            yield Fault("tool-shape", f"{place} calls a tool and names none", "write name and arguments")
        elif declared is not None and name not in declared:
            yield Fault(
                "tool-undeclared",
                f"{place} calls {describe(name)}, which is not declared{did_you_mean(name, declared)}",
            )
        behind = view.turns[number + 1].role if number + 1 < len(view.turns) else "tool"
        if behind not in ("tool", "function", "assistant"):
            yield Fault("tool-unanswered", f"{spell(turn.path)} is not answered before the next turn")


def _sharegpt_declared(tools: Any) -> set[str] | None:
    if isinstance(tools, str):
        try:
            tools = json.loads(tools)
        except (ValueError, RecursionError):
            return None
    if not isinstance(tools, list):
        return None
    named = [tool.get("function", tool) for tool in tools if isinstance(tool, Mapping)]
    return {
        tool["name"] for tool in named if isinstance(tool, Mapping) and isinstance(tool.get("name"), str)
    } or None
