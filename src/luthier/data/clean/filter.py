"""What a filter is: a row goes in; a row comes out, edited or not, or a reason why it is left out.

A filter knows nothing of files, counts or other filters: cleaner.py runs them one after the other and keeps the books.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

from luthier.text.rows import Message, Row

EditText = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Kept:
    """The row goes on; `row` is the very object that came in where nothing was edited."""

    row: Row
    found: Mapping[str, int] = field(default_factory=dict)
    """What was seen and is worth counting, by kind."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """The row is left out. `reason` is one of a few, so that it can be counted; `detail` holds this row's value."""

    reason: str
    detail: str = ""
    found: Mapping[str, int] = field(default_factory=dict)
    score: float | None = None
    """Where a number decided."""


class Filter(Protocol):
    """One step of cleaning."""

    @property
    def name(self) -> str:
        """The word under which its edits and drops are counted."""

    def apply(self, row: Row) -> Kept | Dropped:
        """The row as it goes on, or why it does not."""


@runtime_checkable
class BatchFilter(Filter, Protocol):
    """A step that judges many rows at once far faster than one by one; it edits nothing, and runs after all others."""

    @property
    def rows_at_once(self) -> int:
        """How many."""

    def judge(self, rows: Sequence[Row]) -> Sequence[Kept | Dropped]:
        """What `apply` says of each."""


@dataclass(frozen=True, slots=True)
class TextEdit:
    """A filter that edits every text of a row in the same way and leaves no row out."""

    name: str
    edit: EditText

    def apply(self, row: Row) -> Kept | Dropped:
        """The row with every text edited."""
        return Kept(edit_texts(row, self.edit))


def edit_texts(row: Row, edit: EditText, *, calls: bool = False) -> Row:
    """The row with `edit` done to every text; the row itself if that changes none.

    What tools are called with is code and is left as it stands, unless `calls` asks for its texts too.
    """
    if row.kind == "messages":
        messages = tuple(_edit_message(message, edit, calls=calls) for message in row.messages)
        same = all(new is old for new, old in zip(messages, row.messages, strict=True))
        return row if same else replace(row, messages=messages)
    prompt, completion, text = edit(row.prompt), edit(row.completion), edit(row.text)
    if (prompt, completion, text) == (row.prompt, row.completion, row.text):
        return row
    return replace(row, prompt=prompt, completion=completion, text=text)


def _edit_message(message: Message, edit: EditText, *, calls: bool) -> Message:
    content, made = edit(message.content), message.tool_calls
    if calls and made:
        made = tuple(replace(call, arguments=_edit_json(call.arguments, edit)) for call in made)
    if (content, made) == (message.content, message.tool_calls):
        return message
    return replace(message, content=content, tool_calls=made)


def _edit_json(text: str, edit: EditText) -> str:
    """JSON with every text in it edited, names of fields apart."""
    return json.dumps(_edit_value(json.loads(text), edit), ensure_ascii=False)


def _edit_value(value: Any, edit: EditText) -> Any:
    if isinstance(value, str):
        return edit(value)
    if isinstance(value, list):
        return [_edit_value(item, edit) for item in value]
    if isinstance(value, dict):
        return {name: _edit_value(item, edit) for name, item in value.items()}
    return value


def texts_of(row: Row) -> Iterator[tuple[str, str]]:
    """The name and value of every text of a row: `prompt`, `messages[2]`, ..."""
    if row.kind == "messages":
        for number, message in enumerate(row.messages):
            yield f"messages[{number}]", message.content
            for at, call in enumerate(message.tool_calls):
                yield f"messages[{number}].tool_calls[{at}]", call.arguments
    elif row.kind == "text":
        yield "text", row.text
    else:
        yield "prompt", row.prompt
        yield "completion", row.completion


def whole_text(row: Row) -> str:
    """All texts of a row, a line break between them."""
    return row.text if row.kind == "text" else "\n".join(text for _, text in texts_of(row))


def taught_text(row: Row) -> str:
    """What a row teaches: its text, its completion, or what the assistant says."""
    if row.kind == "messages":
        return "\n".join(message.content for message in row.messages if message.role == "assistant")
    return row.text if row.kind == "text" else row.completion
