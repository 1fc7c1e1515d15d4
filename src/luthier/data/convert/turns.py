"""What every dialect is read into: threads of turns, each turn knowing which messages of the record it came from."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from luthier.floor.lookup import did_you_mean
from luthier.text.problems import LineFault
from luthier.text.row_shapes import describe

Branches = Literal["current", "all", "longest"]
Tools = Literal["drop", "text"]

HIDDEN, INSTRUCTIONS = "hidden", "instructions"
TOOL_CALL, TOOL_OUTPUT = "tool call", "tool output"
EMPTY = "empty"
IMAGE_LEFT_OUT = "image, sound or file left out of a message"
CALL_ROLE = "call"  # not a role of rows: an assistant's turn that calls a tool
# The names that the dialects give to the speakers, in small letters.
ROLE_OF: Mapping[str, str] = {
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant", "bard": "assistant",
    "bot": "assistant", "model": "assistant", "ai": "assistant", "claude": "assistant",
    "system": "system", "developer": "developer",
    "function_call": CALL_ROLE, "tool_call": CALL_ROLE,
    "tool": "tool", "function": "tool", "observation": "tool", "function_response": "tool", "tool_response": "tool",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Choices:
    """What the person asked to have kept."""

    branches: Branches = "current"
    tools: Tools = "drop"
    keep: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Turn:
    """Something said: a role of rows, the text, and the numbers of the record's messages that it is made of."""

    role: str
    text: str
    numbers: tuple[int, ...]
    notes: tuple[str, ...] = ()
    """What was changed or left out in the text."""


@dataclass
class Reading:
    """One record as read: its threads, and which of its messages were left out and why."""

    messages: int
    threads: list[list[Turn]] = field(default_factory=list)
    dropped: dict[int, str] = field(default_factory=dict)
    reason: str = ""
    """Why the record has no thread, where that is so."""
    threads_dropped: Counter[str] = field(default_factory=Counter)
    """Threads that were not even walked."""


def read_role(value: Any, place: str) -> str:
    """The role that a dialect's name stands for. Raises LineFault (data-field) for a name that no dialect uses."""
    role = ROLE_OF.get(value.lower()) if isinstance(value, str) else None
    if role is None:
        hint = did_you_mean(value.lower(), ROLE_OF) if isinstance(value, str) else ""
        raise LineFault("data-field", f"{place} is {describe(value)}, no known speaker{hint}")
    return role


def need_text(value: Any, place: str) -> str:
    """A text, or nothing said for null. Raises LineFault (data-field) for anything else."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise LineFault("data-field", f"{place} is {describe(value)}, not text")
    return value


def need_object(value: Any, place: str) -> dict[str, Any]:
    """An object. Raises LineFault (data-field) for anything else."""
    if not isinstance(value, dict):
        raise LineFault("data-field", f"{place} is {describe(value)}, not an object")
    return value


def add_turn(reading: Reading, thread: list[Turn], turn: Turn, tools: Tools) -> None:
    """Put a turn into a thread; tool turns become text or are left out, and empty ones are left out, with their reason."""
    number = turn.numbers[0]
    if turn.role in (CALL_ROLE, "tool") and tools == "drop":
        reading.dropped[number] = TOOL_CALL if turn.role == CALL_ROLE else TOOL_OUTPUT
    elif not turn.text.strip():
        reading.dropped[number] = EMPTY
    else:
        role = "assistant" if turn.role == CALL_ROLE else turn.role
        thread.append(replace(turn, role=role))
