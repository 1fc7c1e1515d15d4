"""The conversations on which a translated template is proven: those of the user's own rows, and shapes of Luthier's own.

Each is a prompt: what a model is asked with, up to the answer that is wanted. Ollama changes some conversations before any template
sees them; those are left out and counted by what is done to them.
"""

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from luthier.export.ollama.messages import ROLES, joins_neighbours
from luthier.text.chat import Messages, as_messages
from luthier.text.row import Message, Row, ToolCall

OWN = "a conversation of Luthier's own"
TEXTS = (
    "Hello, how are you?",
    "Größe, Öl und naïve cafés: Ångström; łódź; Привет; 你好，世界！; مرحبا; 👩‍👩‍👧‍👦 ✓",
    "Two lines:\n\n  1. `code {{ .Content }} {% if x %}`\n\ttab \"quoted\" 'single' \\n \\u0041 <|not_a_token|> <tag> & $x",
    'def f(x):\n    return {"a": [1, {"b": "}}"}]}  # why?',
    "3 + 4 = 7",
    '"""Three quotation marks""" and {{{ three braces }}}',
)
SHAPES = ("U", "UAU", "UAUAU", "UAUAUAU", "SU", "SUAU", "SUAUAU")
LATER_SYSTEM = ("UASU", "SUASUAU")
ROLE_OF = {"S": "system", "U": "user", "A": "assistant"}


@dataclass(frozen=True)
class Asked:
    """A conversation that ends where an answer is wanted."""

    origin: str
    messages: Messages
    tools: str = ""
    """What may be called: a JSON list as text."""
    is_rare: bool = False
    """Of Luthier's own, in a shape that few rows have: it may come out otherwise, and that is told."""

    @property
    def has_tools(self) -> bool:
        """Whether tools, calls or answers of tools are in it."""
        return bool(self.tools) or any(each.tool_calls or each.role == "tool" for each in self.messages)


def own_conversations(*, with_system: bool, with_history: bool) -> Iterator[Asked]:
    """Every shape with every text, each text in turn in every place."""
    for shape in (*SHAPES, *LATER_SYSTEM):
        if ("S" in shape and not with_system) or ("A" in shape and not with_history):
            continue
        for first in range(len(TEXTS)):
            said = (TEXTS[(first + place) % len(TEXTS)] for place in range(len(shape)))
            messages = (Message(ROLE_OF[sign], _nfc(text)) for sign, text in zip(shape, said, strict=True))
            yield Asked(OWN, tuple(messages), is_rare=shape in LATER_SYSTEM)


def prompts_of(row: Row) -> list[Asked]:
    """Of a row what stands before each answer, the last one last; of one without an answer all of it."""
    if row.kind == "text":
        return [Asked(row.origin, (Message("user", row.text),))]
    messages = as_messages(row)
    ends = [place for place, message in enumerate(messages) if message.role == "assistant" and place]
    return [Asked(row.origin, messages[:end], row.tools) for end in ends or [len(messages)]]


def tool_conversations(tools: Sequence[dict[str, object]], *, with_system: bool) -> Iterator[Asked]:
    """Tools offered, called once and twice, answered, and the conversation going on."""
    written = json.dumps(list(tools), ensure_ascii=False)
    question, answer = Message("user", TEXTS[0]), Message("assistant", TEXTS[1])
    calls = tuple(
        ToolCall(f"see_{place}", json.dumps({"city": f"Öl {place}", "days": place}), f"call0000{place}")
        for place in range(2)
    )
    said = [Message("tool", '{"t": -2}', tool_call_id=call.id, name=call.name) for call in calls]
    talks = [
        (question,),
        (question, answer, question),
        (question, Message("assistant", "", tool_calls=calls[:1]), said[0]),
        (question, Message("assistant", "", tool_calls=calls), *said),
        (question, Message("assistant", "", tool_calls=calls), *said, answer, question),
    ]
    for talk in talks:
        yield Asked(OWN, talk, written)
        if with_system:
            yield Asked(OWN, (Message("system", TEXTS[4]), *talk), written)


def fitting(rows: Iterable[Row], left_out: Counter[str]) -> Iterator[Asked]:
    """The prompts of rows that Ollama hands on as they are, in Unicode NFC; the others are counted."""
    for row in rows:
        for asked in prompts_of(row):
            if any(message.role not in ROLES for message in asked.messages):
                left_out["roles"] += 1
            elif joins_neighbours(asked.messages):
                left_out["neighbours"] += 1
            else:
                plain = (replace(message, content=_nfc(message.content)) for message in asked.messages)
                yield replace(asked, messages=tuple(plain))


def without_blanks(asked: Asked, roles: Sequence[str]) -> Asked:
    """The same with the white space around the texts of some roles taken off."""
    return replace(
        asked,
        messages=tuple(
            replace(message, content=message.content.strip()) if message.role in roles else message
            for message in asked.messages
        ),
    )


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)
