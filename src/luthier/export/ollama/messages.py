"""What Ollama makes of a conversation before its template sees it, and the prompt that the template makes of that.

After its template package and server (github.com/ollama/ollama, template/template.go and server/prompt.go, 0.14 and later):
neighbours of one role become one message with an empty line between them, tools' answers excepted; `.System` holds all system
texts and `.Messages` holds them as well; a template that names `.Messages` is run once over all, one that does not is run once a
turn and cut at `.Response`, which such templates of Luthier's are not. A BOS token is put before the prompt by llama.cpp.
"""

import json
from collections.abc import Sequence
from typing import Any

from luthier.export.ollama.go_parse import Node
from luthier.export.ollama.go_run import execute
from luthier.export.ollama.go_values import JsonMap, Record
from luthier.text.row import Message

ROLES = ("system", "user", "assistant", "tool")
BETWEEN = "\n\n"


def collate(messages: Sequence[Message]) -> tuple[str, list[Message]]:
    """All system texts as one, and the messages with neighbours of one role joined."""
    system = BETWEEN.join(message.content for message in messages if message.role == "system")
    joined: list[Message] = []
    for message in messages:
        if joined and joined[-1].role == message.role != "tool":
            before = joined[-1]
            content = before.content + BETWEEN + message.content
            joined[-1] = Message(before.role, content, tool_calls=before.tool_calls)
        else:
            joined.append(message)
    return system, joined


def joins_neighbours(messages: Sequence[Message]) -> bool:
    """Whether Ollama joins some of the messages, so that no template sees the conversation as it is."""
    return len(collate(messages)[1]) < len(messages)


def render(nodes: Sequence[Node], messages: Sequence[Message], tools: str = "") -> str:
    """The prompt of a conversation, without the BOS that llama.cpp may add. `tools` is a JSON list. Raises GoTemplateError."""
    system, joined = collate(messages)
    data = {
        "System": system,
        "Messages": [_record(message) for message in joined],
        "Tools": [_tool(tool) for tool in json.loads(tools or "[]")],
        "Response": "",
        "Think": False,
        "ThinkLevel": "",
        "IsThinkSet": False,
    }
    return execute(nodes, data)


def _record(message: Message) -> Record:
    """A message with the fields that templates know."""
    return Record(
        Role=message.role,
        Content=message.content,
        Thinking="",
        Images=[],
        ToolCalls=[_call(call.name, json.loads(call.arguments), call.id) for call in message.tool_calls],
        ToolName=message.name,
        ToolCallID=message.tool_call_id,
    )


def _call(name: str, arguments: dict[str, Any], id: str) -> Record:
    return Record(ID=id, Function=Record(Index=0, Name=name, Arguments=JsonMap(arguments)))


def _tool(tool: dict[str, Any]) -> Record:
    """A tool with the fields that Ollama's types keep (api/types.go); whatever else a definition says is lost on the way."""
    function = tool.get("function") or {}
    parameters = function.get("parameters") or {}
    properties = {name: _property(each) for name, each in (parameters.get("properties") or {}).items()}
    return Record(
        Type=tool.get("type", ""),
        Function=Record(
            Name=function.get("name", ""),
            Description=function.get("description", ""),
            Parameters=Record(
                Type=parameters.get("type", ""),
                Required=parameters.get("required") or [],
                Properties=properties,
            ),
        ),
    )


def _property(schema: dict[str, Any]) -> Record:
    return Record(
        Type=schema.get("type", ""),
        Description=schema.get("description", ""),
        Enum=schema.get("enum") or [],
        Items=schema.get("items"),
    )
