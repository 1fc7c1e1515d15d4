"""Read tool calls, and the tools that may be called, into one form: OpenAI's, with arguments that are an object.

Arguments come as JSON text or as an object; JSON text inside of JSON text is a mistake that some data sets make.
"""

import json
from collections.abc import Mapping
from typing import Any

from luthier.text.dialects.turns import need_object
from luthier.text.json_lines import parse_inner
from luthier.text.problems import LineFault, describe
from luthier.text.row import ToolCall


def read_call(call: Mapping[str, Any], where: str, *, id: Any = None) -> ToolCall:
    """A call of a name with arguments. Raises LineFault (data-field) if it has no name, or arguments that are no object."""
    name = _need_name(call, where)
    value = parse_arguments(call.get("arguments", {}), where)
    if isinstance(value, str):
        raise LineFault(
            "data-field", f"{where}.arguments is JSON encoded twice: give the object, or its JSON once"
        )
    if not isinstance(value, dict):
        raise LineFault("data-field", f"{where}.arguments is {describe(value)}, not an object")
    if id is not None and not isinstance(id, str):
        raise LineFault("data-field", f"{where}.id is {describe(id)}, not text")
    return ToolCall(name, json.dumps(value, ensure_ascii=False), id or "")


def call_text(call: Mapping[str, Any], where: str) -> str:
    """A tool call as text: one line of JSON with its name and arguments. Raises LineFault if it has no name."""
    arguments = parse_arguments(call.get("arguments", {}), where)
    return json.dumps({"name": _need_name(call, where), "arguments": arguments}, ensure_ascii=False)


def parse_arguments(arguments: Any, where: str) -> Any:
    """The value of arguments that are JSON text, or the arguments themselves. Raises LineFault (data-field)."""
    return parse_inner(arguments, f"{where}.arguments") if isinstance(arguments, str) else arguments


def read_tools(record: Mapping[str, Any]) -> str:
    """What a row says may be called, as JSON text in OpenAI's form; empty if it says nothing. Raises LineFault (data-field).

    `tools` is a list, or JSON text of one, of tools or of bare functions; `functions` is the older name for the latter.
    """
    name = next((name for name in ("tools", "functions") if record.get(name)), None)
    if name is None:
        return ""
    value = record[name]
    if isinstance(value, str):
        if not value.strip():
            return ""
        value = parse_inner(value, name)
    if not isinstance(value, list):
        raise LineFault("data-field", f"{name} is {describe(value)}, not a list")
    tools = [_read_tool(need_object(tool, f"{name}[{at}]"), f"{name}[{at}]") for at, tool in enumerate(value)]
    return json.dumps(tools, ensure_ascii=False) if tools else ""


def _read_tool(tool: dict[str, Any], where: str) -> dict[str, Any]:
    if "function" not in tool:
        _check_tool(tool, where)
        return {"type": "function", "function": tool}
    _check_tool(need_object(tool["function"], f"{where}.function"), f"{where}.function")
    return tool if "type" in tool else {"type": "function", **tool}


def _check_tool(function: Mapping[str, Any], where: str) -> None:
    if not isinstance(function.get("name"), str) or not function["name"]:
        raise LineFault("data-field", f"{where} has no name, so nobody can call it")


def _need_name(fields: Mapping[str, Any], where: str) -> str:
    name = fields.get("name")
    if not isinstance(name, str) or not name:
        raise LineFault("data-field", f"{where} is a call without a name")
    return name
