"""A row as the checks see it: its shape, its texts with their places, what it asks and what it answers.

Judged on the JSON fields themselves, so that a row that no format takes is seen as far as it goes, every fault of it at once.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from luthier.data.alike.wording import Wording, wording_of
from luthier.data.check.conversation import Turn, read_turns
from luthier.data.check.kinds import Fault
from luthier.data.check.places import Path, Text, spell
from luthier.data.check.shapes import TRAINED, missing_shape, shape_of
from luthier.data.question import INSTRUCTING, question_or_all
from luthier.text.dialects import alpaca, pairs, sharegpt, tokens
from luthier.text.problems import LineFault, describe
from luthier.text.rows import Row

Fields = Mapping[str, Any]
UNREAD = ("wrong-type", "missing-field", "unknown-role")
MOST_STRINGS = 10_000  # of a row of another dialect


@dataclass(slots=True)
class View:
    """One row. `prompt` is None where nothing is asked: plain text, and dialects that hold many conversations a row."""

    shape: str
    fields: Fields
    texts: list[Text] = field(default_factory=list)
    """Every text of the row."""
    answers: list[Text] = field(default_factory=list)
    """Those among them that are learnt."""
    turns: list[Turn] = field(default_factory=list)
    prompt: str | None = None
    answer: str = ""
    faults: list[Fault] = field(default_factory=list)
    row: Row | None = None
    """The row as training reads it, once it has been asked."""

    def wording(self) -> Wording:
        """What deduplication compares: the texts, and of a conversation all that decides what is learnt of it."""
        if self.shape == "tokens":
            return _wording_of_tokens(self.fields)
        if self.turns:
            said = tuple(part for turn in self.turns for part in (turn.role, turn.said, turn.marks))
            said += tuple(str(self.fields[name]) for name in ("tools", "functions") if name in self.fields)
            return Wording(said, self.prompt, self.answer, "\n".join(turn.said for turn in self.turns))
        if self.shape == "preference":
            texts = tuple(text.text for text in self.texts)
            return Wording(texts, self.prompt, "\0".join(texts), "\n".join(texts))
        if self.prompt is not None:
            return Wording(
                (self.prompt, self.answer), self.prompt, self.answer, f"{self.prompt}\n{self.answer}"
            )
        texts = tuple(text.text for text in self.texts)
        return Wording(texts, None, "", "\n".join(texts))

    def question(self) -> str:
        """What the row asks, as the split has it; of a row that training does not read, as far as its fields tell."""
        if self.row is not None:
            return question_or_all(self.row)
        if self.turns:
            before = takewhile(lambda turn: turn.role != "assistant", self.turns)
            asked = "\n".join(turn.said for turn in before if turn.role not in INSTRUCTING)
            if asked.strip():
                return asked
        return self.wording().body if self.prompt is None else self.prompt

    @property
    def is_whole(self) -> bool:
        """Whether all of the row could be read: only then can it be the same as another, or empty."""
        return not any(fault.kind in UNREAD for fault in self.faults)

    @property
    def is_plain(self) -> bool:
        """Whether it is of a shape of the guide, whose fields are texts and nothing else."""
        return self.shape in TRAINED


def view_of(fields: Fields) -> View | list[Fault]:
    """The row with what is wrong with its fields, or, of a row of no shape, what it lacks."""
    shape = shape_of(fields)
    if isinstance(shape, Fault):
        return [shape]
    if shape is None:
        return [missing_shape(fields)]
    view = View(shape, fields)
    READERS.get(shape, _read_strings)(view)
    return view


def _read_pair(view: View) -> None:
    """Prompt and completion, or under the names that other dialects have for them."""
    asked, answered = _sides(view)
    if view.is_plain and any(_are_messages(view.fields[name]) for name in (*asked, answered)):
        view.prompt = _side(view, (asked[0],), view.fields[asked[0]], is_answer=False)
        view.answer = _side(view, (answered,), view.fields[answered], is_answer=True)
        return
    asked_texts = [text for name in asked if (text := _take(view, (name,))) is not None]
    answer = _take(view, (answered,))
    view.prompt = "\n".join(asked_texts)
    if answer is not None:
        view.answer = answer
        view.answers = [view.texts[-1]]
        if not answer.strip():
            view.faults.append(_nothing("empty-answer", answered, answer))
    if asked_texts and not any(map(str.strip, asked_texts)):
        view.faults.append(_nothing("empty-prompt", asked[0], asked_texts[0]))


def _are_messages(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _sides(view: View) -> tuple[list[str], str]:
    """The fields that ask, and the one that answers."""
    fields = view.fields
    if view.shape == "prompt_completion":
        return ["prompt"], "completion"
    if view.shape == "alpaca":
        inputs = [name for name in alpaca.INPUTS if fields.get(name)]
        return ["instruction", *inputs[:1]], next(name for name in alpaca.ANSWERS if name in fields)
    asked = next(name for name in pairs.QUESTIONS if name in fields)
    return [asked], next(name for name in pairs.ANSWERS if name in fields and name != asked)


def _read_text(view: View) -> None:
    text = _take(view, ("text",))
    if text is not None:
        view.answers = view.texts[:]
        if not text.strip():
            view.faults.append(_nothing("empty-text", "text", text))


def _read_conversation(view: View) -> None:
    name = "messages" if view.shape == "messages" else _list_of(view.fields)
    _take_turns(view, (name,), view.fields[name])
    _split_at_first_answer(view)


def _read_preference(view: View) -> None:
    """Two answers to one prompt; the better one is what the row answers."""
    fields = view.fields
    if all(name in fields for name in ("input", "preferred_output", "non_preferred_output")):
        asked, better, worse = ("input", "messages"), "preferred_output", "non_preferred_output"
        inner = fields["input"]
        if not isinstance(inner, Mapping) or "messages" not in inner:
            view.faults.append(
                Fault("wrong-type", f"'input' is {describe(inner)}, not an object with messages")
            )
            return
        view.prompt = _side(view, asked, inner["messages"], is_answer=False)
    else:
        better, worse = "chosen", "rejected"
        if "prompt" in fields:
            view.prompt = _side(view, ("prompt",), fields["prompt"], is_answer=False)
    view.answer = _side(view, (better,), fields[better], is_answer=True)
    _side(view, (worse,), fields[worse], is_answer=False)
    if fields[better] == fields[worse]:
        what = f"'{better}' and '{worse}' are the same: nothing is preferred"
        view.faults.append(Fault("same-preference", what))
    elif not view.answer.strip():
        view.faults.append(_nothing("empty-answer", better, view.answer))
    view.turns = []


def _side(view: View, path: Path, value: Any, *, is_answer: bool) -> str:
    """The texts of one side, which is text or a list of messages."""
    if isinstance(value, list):
        turns = read_turns(path, value, view.faults, is_strict=True)
        found = [text for turn in turns for text in turn.texts]
    elif isinstance(value, str):
        found = [Text(path, value)]
    else:
        what = f"{spell(path)!r} is {describe(value)}, neither text nor a list of messages"
        view.faults.append(Fault("wrong-type", what))
        return ""
    view.texts += found
    if is_answer:
        view.answers += found
    return "\n".join(text.text for text in found)


def _read_strings(view: View) -> None:
    """Every string of a row in a dialect that holds more than one conversation a row: only its characters are looked at."""
    view.texts = [text for text, _ in zip(_strings((), view.fields), range(MOST_STRINGS), strict=False)]


def _strings(path: Path, value: Any) -> Iterator[Text]:
    if isinstance(value, str):
        yield Text(path, value)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _strings((*path, key), item)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _strings((*path, number), item)


def _wording_of_tokens(fields: Fields) -> Wording:
    """By ids and mask; what training refuses is the same as nothing but itself."""
    try:
        return wording_of(tokens.read(fields, ""))
    except LineFault:
        written = repr(sorted(fields.items(), key=lambda each: str(each[0])))
        return Wording((written,), None, "", written)


READERS: Mapping[str, Callable[[View], None]] = {
    "prompt_completion": _read_pair,
    "messages": _read_conversation,
    "text": _read_text,
    "sharegpt": _read_conversation,
    "alpaca": _read_pair,
    "question-answer": _read_pair,
    "preference": _read_preference,
}


def _take(view: View, path: Path) -> str | None:
    """The text of a field, entered into the row's texts; a fault if it is none."""
    value = view.fields[path[0]]  # type: ignore[index]
    if isinstance(value, str):
        view.texts.append(Text(path, value))
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool) and not view.is_plain:
        return str(value)  # the number that answers a question: conversion writes it as text
    view.faults.append(Fault("wrong-type", f"{spell(path)!r} is {describe(value)}, not text"))
    return None


def _take_turns(view: View, path: Path, value: Any) -> None:
    if not isinstance(value, list):
        what = f"{spell(path)!r} is {describe(value)}, not a list of messages"
        view.faults.append(Fault("wrong-type", what, "write a list of objects with role and content"))
        return
    view.turns = read_turns(path, value, view.faults, is_strict=view.shape == "messages")
    for turn in view.turns:
        view.texts += turn.texts
        if turn.role == "assistant" and turn.is_trained:
            view.answers += turn.texts


def _split_at_first_answer(view: View) -> None:
    """The turns before the first answer are the prompt, as in deduplication."""
    roles = [turn.role for turn in view.turns]
    first = roles.index("assistant") if "assistant" in roles else len(roles)
    view.prompt = "\n".join(turn.said for turn in view.turns[:first])
    view.answer = "\n".join(turn.said for turn in view.turns[first:])


def _list_of(fields: Fields) -> str:
    return next(name for name in sharegpt.LISTS if name in fields)


def _nothing(kind: str, name: str, text: str) -> Fault:
    return Fault(kind, f"{name!r} is empty" if not text else f"{name!r} is nothing but white space")
