"""A conversation with placeholders instead of what is said: what a chat template makes of that is its own text.

Placeholders stand for the content of every message, for the name of every tool call and for every text in its arguments. Of an
answer that begins with <think>...</think> the thinking and the rest have one each, since templates treat them apart.
"""

import json
import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from luthier.text.row import Message, ToolCall

# Private-use characters: no template strips, splits or compares them.
PLACEHOLDER = re.compile("\ue000(\\d+)\ue001")
THINKING = re.compile(r"(<think>\n*)(.*?)(\n*</think>\n*)(.*)", re.DOTALL)

Part = Literal["content", "thinking", "tool call"]


def placeholder(hole: int) -> str:
    """What stands for the text of a hole."""
    return f"\ue000{hole}\ue001"


@dataclass(frozen=True, slots=True)
class Hole:
    """A text that was taken out of a conversation."""

    message: int
    part: Part
    role: str
    text: str

    def spellings(self) -> list[str]:
        """How templates write it: as it is, without outer white space, or as a JSON or Python string inside of one.

        Only what tools say and are asked is ever quoted.
        """
        text = self.text
        plain = [text, text.strip(), text.strip("\n"), text.lstrip(), text.rstrip()]
        plain += [text.lstrip("\n"), text.rstrip("\n")]
        if self.part != "tool call" and self.role != "tool":
            return plain
        quoted = json.dumps(text, ensure_ascii=False), json.dumps(text), repr(text)
        return [*plain, *(spelling[1:-1] for spelling in quoted)]


@dataclass(frozen=True)
class Outline:
    """A conversation with placeholders, and what they stand for, in order."""

    messages: tuple[Message, ...]
    holes: tuple[Hole, ...]
    structure: Hashable
    """Equal for conversations whose outlines are the same: roles alone, as long as nothing but contents is said."""


def outline_of(messages: Sequence[Message]) -> Outline:
    """The outline of a conversation."""
    holes: list[Hole] = []
    drawn: list[Message] = []
    for number, message in enumerate(messages):
        if _is_plain(message):
            drawn.append(Message(message.role, placeholder(len(holes))))
            holes.append(Hole(number, "content", message.role, message.content))
        else:
            drawn.append(_draw(message, number, holes))
    is_plain = all(map(_is_plain, messages))
    structure = tuple(message.role for message in messages) if is_plain else tuple(drawn)
    return Outline(tuple(drawn), tuple(holes), structure)


def _draw(message: Message, number: int, holes: list[Hole]) -> Message:
    """A message with thinking or tool calls, every text of it replaced by the placeholder of a new hole."""

    def take(part: Part, text: str) -> str:
        holes.append(Hole(number, part, message.role, text))
        return placeholder(len(holes) - 1)

    content = _outline_content(message, take)
    calls = tuple(_outline_call(call, take) for call in message.tool_calls)
    return replace(message, content=content, tool_calls=calls, weight=1)


def _is_plain(message: Message) -> bool:
    if message.tool_calls or message.tool_call_id or message.name:
        return False
    return message.role != "assistant" or not message.content.startswith("<think>")


def _outline_content(message: Message, take: Callable[[Part, str], str]) -> str:
    if not message.content and message.tool_calls:
        return ""  # templates ask whether there is a content beside the calls
    thinking = THINKING.fullmatch(message.content) if message.role == "assistant" else None
    if thinking is None:
        return take("content", message.content)
    opening, thought, closing, rest = thinking.groups()
    return opening + take("thinking", thought) + closing + take("content", rest)


def _outline_call(call: ToolCall, take: Callable[[Part, str], str]) -> ToolCall:
    name = take("tool call", call.name)
    arguments = _outline_value(json.loads(call.arguments), take)
    return replace(call, name=name, arguments=json.dumps(arguments, ensure_ascii=False))


def _outline_value(value: Any, take: Callable[[Part, str], str]) -> Any:
    if isinstance(value, str):
        return take("tool call", value)
    if isinstance(value, list):
        return [_outline_value(item, take) for item in value]
    if isinstance(value, dict):
        return {name: _outline_value(item, take) for name, item in value.items()}
    return value
