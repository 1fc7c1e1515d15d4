"""What every dialect is read into: threads of turns, each turn knowing which messages of the record it came from."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from luthier.floor.lookup import did_you_mean
from luthier.text.problems import LineFault, describe
from luthier.text.row import Message, ToolCall

Branches = Literal["current", "all", "longest"]
Tools = Literal["drop", "text"]

HIDDEN, INSTRUCTIONS = "hidden", "instructions"
TOOL_CALL, TOOL_OUTPUT = "tool call", "tool output"
EMPTY = "empty"
IMAGE_LEFT_OUT = "image, sound or file left out of a message"
ANOTHER_BRANCH = "on another branch"
CALL_ROLE = "call"  # not a role of rows: an assistant's turn that calls a tool
TOO_MANY_TURNS = "more branches than are walked"
# All branches of a tree share their beginnings: 10,000 turns with a branch at each would be 50 million.
MOST_TURNS_OF_ALL_BRANCHES = 200_000
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
    tools: Tools | Literal["keep"] = "drop"
    keep: frozenset[str] = frozenset()
    is_exact: bool = False
    """Every message as it stands, empty ones too; what a row cannot hold is refused and never left out."""


AS_IT_STANDS = Choices(tools="keep", is_exact=True)


@dataclass(frozen=True, slots=True)
class Turn:
    """Something said: a role of rows, the text, and the numbers of the record's messages that it is made of."""

    role: str
    text: str
    numbers: tuple[int, ...]
    notes: tuple[str, ...] = ()
    """What was changed or left out in the text."""
    weight: int = 1
    calls: tuple[ToolCall, ...] = ()
    """Tool calls that stay calls; the others are text by now, or gone."""
    call_id: str = ""
    name: str = ""

    def as_message(self) -> Message:
        """The turn as rows hold it."""
        return Message(self.role, self.text, self.weight, self.calls, self.call_id, self.name)


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
    tools: str = ""
    """What may be called: a JSON list as text, in OpenAI's form."""


def read_role(value: Any, place: str) -> str:
    """The role that a dialect's name stands for. Raises LineFault (data-field) for a name that no dialect uses."""
    role = ROLE_OF.get(value.lower()) if isinstance(value, str) else None
    if role is None:
        hint = did_you_mean(value.lower(), ROLE_OF) if isinstance(value, str) else ""
        raise LineFault("data-field", f"{place} is {describe(value)}, no known speaker{hint}")
    return role


def read_weight(message: Mapping[str, Any], where: str) -> int:
    """1, or 0 for a message that is in the context but not to be learnt. Raises LineFault for any other weight."""
    weight = message.get("weight")
    if weight is None:
        return 1
    if isinstance(weight, bool) or weight not in (0, 1):
        raise LineFault("data-field", f"{where}.weight is {describe(weight)}, neither 0 nor 1")
    return int(weight)


def need_text(value: Any, place: str) -> str:
    """A text, or nothing said for null. Raises LineFault (data-field) for anything else."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise LineFault("data-field", f"{place} is {describe(value)}, not text")
    return value


def text_or_number(value: Any, place: str) -> str:
    """A text, or a number as text: answers and labels of tables are numbers. Raises LineFault (data-field)."""
    return str(value) if isinstance(value, (int, float)) else need_text(value, place)


def need_object(value: Any, place: str) -> dict[str, Any]:
    """An object. Raises LineFault (data-field) for anything else."""
    if not isinstance(value, dict):
        raise LineFault("data-field", f"{place} is {describe(value)}, not an object")
    return value


def add_turn(reading: Reading, thread: list[Turn], turn: Turn, choices: Choices) -> None:
    """Put a turn into a thread; tool turns stay, become text or are left out, and empty ones are left out, with their reason."""
    number = turn.numbers[0]
    if turn.role in (CALL_ROLE, "tool") and choices.tools == "drop":
        reading.dropped[number] = TOOL_CALL if turn.role == CALL_ROLE else TOOL_OUTPUT
    elif not turn.text.strip() and not turn.calls and not choices.is_exact:
        reading.dropped[number] = EMPTY
    else:
        thread.append(replace(turn, role="assistant") if turn.role == CALL_ROLE else turn)
