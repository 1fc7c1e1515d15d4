"""What a row is once it is read, whatever shape it had in its file: a pair, a conversation, a text, a preference, or tokens.

Knows no file and no dialect. Everything in it is text, bytes or a number, so rows can be compared, hashed and kept in sets.
"""

from dataclasses import dataclass
from typing import Literal

RowKind = Literal["prompt_completion", "messages", "text", "preference", "tokens"]


ID_BYTES = 4


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool that an assistant's message makes."""

    name: str
    arguments: str
    """A JSON object as text, its keys in the order they came in."""
    id: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str
    weight: int = 1
    """0 for a turn that stands in the context and is never learnt. Only turns of the assistant are learnt at all."""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    """Of a tool's answer: the call that it answers."""
    name: str = ""

    def texts(self) -> tuple[str, ...]:
        """What is said, then the name and the arguments of every call."""
        return (self.content, *(text for call in self.tool_calls for text in (call.name, call.arguments)))

    @property
    def is_learnt(self) -> bool:
        """Whether the turn may carry loss."""
        return self.role == "assistant" and self.weight != 0


@dataclass(frozen=True, slots=True)
class Tokens:
    """A row that another program tokenized already, without its padding."""

    ids: bytes
    """One uint32 a token, in the machine's byte order."""
    learnt: bytes
    """One byte a token, 1 where its file wants loss."""
    padding: int = 0
    """Tokens of padding that were taken off."""

    def __len__(self) -> int:
        return len(self.learnt)

    @property
    def asked(self) -> bytes:
        """The ids before the first token that is learnt; all of them where all is learnt, which asks nothing.

        The mask of a first token says nothing: none precedes it, so it never carries loss.
        """
        start = self.learnt.find(1, 1)
        return self.ids if start <= 1 else self.ids[: start * ID_BYTES]


@dataclass(frozen=True, slots=True)
class Row:
    """One example, and where it came from (`data/train.jsonl:17`). Only the fields of its kind are filled."""

    kind: RowKind
    origin: str
    prompt: str = ""
    completion: str = ""
    messages: tuple[Message, ...] = ()
    """The conversation; of a preference what both answers follow."""
    text: str = ""
    tools: str = ""
    """What may be called in a conversation: a JSON list as text, in OpenAI's form. Empty where there is none."""
    chosen: tuple[Message, ...] = ()
    rejected: tuple[Message, ...] = ()
    tokens: Tokens | None = None
    """Of a row of tokens, which has no text."""
    group: str = ""
    """What the row belongs to and may not be parted from when sets are split, where a recipe names such a field."""
    stratum: str = ""
    """What of each set shall have its share, where a recipe names such a field."""

    def texts(self) -> tuple[str, ...]:
        """Every text of the row, empty ones too."""
        if self.kind == "text":
            return (self.text,)
        if self.kind == "prompt_completion":
            return (self.prompt, self.completion)
        messages = (*self.messages, *self.chosen, *self.rejected)
        said = (text for message in messages for text in message.texts())
        return (self.prompt, self.completion, self.text, self.tools, *said)
