"""Repair one row: what can be mended without asking anybody, and whether anything is left to learn from it.

Mended are wrong decodings, characters that nobody sees, turns behind the last answer, tool arguments encoded too often. What a
row means is never touched: labels, roles, answers that refuse or repeat stay for a person to judge.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from luthier.data.check.characters import mojibake_repair
from luthier.data.check.conversation import Turn
from luthier.data.check.places import Path, put, spell
from luthier.data.check.tools import calls_of, decode_arguments
from luthier.data.check.turns import check_turns
from luthier.data.check.view import View, view_of
from luthier.data.clean.characters import remove_invisible

# A row with one of these teaches nothing: it is left out.
WORTHLESS = ("empty-prompt", "empty-answer", "empty-text", "no-answer", "same-preference")


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of one place: the characters from `at` on that were there, and those that are there now."""

    kind: str
    place: str
    at: int
    before: str
    after: str


@dataclass(frozen=True)
class Repaired:
    """The row as it is now, what was done to it, and why it should be left out, if it should."""

    fields: Mapping[str, Any]
    edits: list[Edit]
    view: View | None
    drop_kind: str = ""
    drop_reason: str = ""


def repair_row(fields: Mapping[str, Any]) -> Repaired:
    """Mend a row. A row of no shape stays as it is."""
    edits: list[Edit] = []
    for step in (_mend_texts, _decode_arguments, _cut_tail):
        view = view_of(fields)
        if not isinstance(view, View):
            return Repaired(fields, edits, None)
        for path, kind, old, new in step(view):
            fields = put(fields, path, new)
            edits.append(_edit(kind, path, old, new))
    view = view_of(fields)
    assert isinstance(view, View), "an edit of texts takes no shape away"
    for fault in (*view.faults, *check_turns(view)):
        if fault.kind in WORTHLESS:
            return Repaired(fields, edits, view, fault.kind, fault.message)
    return Repaired(fields, edits, view)


Change = tuple[Path, str, Any, Any]
"""Place, kind, old and new value."""


def _mend_texts(view: View) -> Iterator[Change]:
    """Decodings first: the controls that a wrong one made are gone then."""
    mend: Callable[[str], str] | None = mojibake_repair()
    for path, text in view.texts:
        if text.isascii() and text.isprintable():
            continue
        mended = text if mend is None else mend(text)
        if mended != text:
            yield path, "mojibake", text, mended
        if (clean := remove_invisible(mended)) != mended:
            yield path, "invisible-characters", mended, clean


def _decode_arguments(view: View) -> Iterator[Change]:
    for turn in view.turns:
        for call in calls_of(turn):
            arguments = call.function.get("arguments") if isinstance(call.function, Mapping) else None
            if not isinstance(arguments, str):
                continue
            try:
                value, times = decode_arguments(arguments)
            except ValueError:
                continue
            if times > 1 and isinstance(value, Mapping):
                yield (
                    call.arguments_path,
                    "tool-arguments-twice",
                    arguments,
                    json.dumps(value, ensure_ascii=False),
                )


def _cut_tail(view: View) -> Iterator[Change]:
    """The turns up to the last answer; none if a role is unknown, since that may be the assistant's."""
    turns: list[Turn] = view.turns
    roles = [turn.role for turn in turns]
    if view.shape not in ("messages", "sharegpt") or "assistant" not in roles or "" in roles:
        return
    last = len(roles) - roles[::-1].index("assistant")
    path = turns[0].path[:-1]
    messages = view.fields[str(path[0])]
    if last < len(messages) == len(turns):
        yield path, "last-not-assistant", messages, messages[:last]


def _edit(kind: str, path: Path, old: Any, new: Any) -> Edit:
    """The change without what is the same before and behind it."""
    if not (isinstance(old, str) and isinstance(new, str)):
        cut = json.dumps(old[len(new) :], ensure_ascii=False)
        return Edit(kind, spell(path), len(new), cut, "")
    start, most = 0, min(len(old), len(new))
    while start < most and old[start] == new[start]:
        start += 1
    end = 0
    while end < most - start and old[-1 - end] == new[-1 - end]:
        end += 1
    return Edit(kind, spell(path), start, old[start : len(old) - end], new[start : len(new) - end])
