"""Which shapes a row may have in its file, which one a record has, and what it lacks to have one.

A shape is how a data set writes a row down; its kind is what becomes of it. Adding a shape: its dialect, one row in SHAPES, its
test. `data convert` reads the same dialects, and more: exports whose conversations have to be put together.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from luthier.floor.lookup import did_you_mean
from luthier.text.dialects import alpaca, oasst, openai_chat, pairs, preference, sharegpt, tokens
from luthier.text.dialects.turns import AS_IT_STANDS, Choices, Reading
from luthier.text.problems import LineFault, describe
from luthier.text.row import Message, Row, RowKind

Missing = Callable[[Mapping[str, Any]], list[str]]
ROLES = ("system", "developer", "user", "assistant", "tool")
OTHER_BRANCHES = "replies (other branches)"


class Candidate(NamedTuple):
    """A shape, for the search of the closest one."""

    name: str
    missing: Missing
    lists: tuple[str, ...] = ()
    """The list that it is made of, by its names."""


@dataclass(frozen=True)
class Shape:
    """One way to write a row down."""

    name: str
    looks: str
    """What a row of it looks like, for people."""
    kind: RowKind
    fields: frozenset[str]
    """What it may read; other fields are counted as not used."""
    missing: Missing
    make: Callable[[Mapping[str, Any], str], Row]
    """The row of a record that lacks nothing, with its origin. Raises LineFault."""
    covers: tuple[str, ...] = ()
    """Shapes that its records have too, by their fields alone."""
    lists: tuple[str, ...] = ()

    def row(self, fields: Mapping[str, Any], origin: str) -> Row:
        """The row. Raises LineFault (data-field) naming what is missing or of another type."""
        lacks = self.missing(fields)
        if lacks:
            raise lacking(fields, lacks, self.name)
        return self.make(fields, origin)


def lacking(fields: Mapping[str, Any], lacks: Sequence[str], name: str) -> LineFault:
    """The fault of a record that is of a shape in all but the fields that it lacks."""
    listed = " and ".join(repr(each) for each in lacks)
    word = "field" if len(lacks) == 1 else "fields"
    what = f"lacks the {word} {listed} of format {name}; {present(fields, lacks[0])}"
    return LineFault("data-field", what, fix=unwrapping(fields))


def present(fields: Mapping[str, Any], wanted: str = "") -> str:
    """What a record has, for a fault that says what it lacks."""
    if not fields:
        return "the object is empty"
    shown = ", ".join(str(name)[:40] for name in list(fields)[:8])
    return f"it has: {shown}{did_you_mean(wanted, fields) if wanted else ''}"


def unwrapping(fields: Mapping[str, Any]) -> str:
    """What to type where the rows lie one level deeper, as in {"data": [...]}; nothing for other objects."""
    for name, value in fields.items():
        if _are_messages(value) and any(not shape.missing(value[0]) for shape in SHAPES):
            return f"If the rows are in its field {name!r}, take them out: jq -c '.[\"{name}\"][]' FILE > rows.jsonl"
    return ""


def _no_text(name: str, value: Any) -> LineFault:
    """The fault of a field that is no text; where it is a list, the file may hold columns instead of rows."""
    is_column = isinstance(value, list) and len(value) > 1 and isinstance(value[0], str)
    fix = "If each field holds a column of all rows, write one object a row: a line, or an item of an array."
    return LineFault("data-field", f"{name!r} is {describe(value)}, not text", fix=fix if is_column else "")


def closest(record: Mapping[str, Any], candidates: Iterable[Candidate]) -> Candidate | None:
    """The candidate of whose fields a record has most; None if it has nothing of any."""
    ranked = [(_distance(record, each), at, each) for at, each in enumerate(candidates)]
    distance, _, found = min(ranked, key=lambda each: each[:2])
    return found if distance < 1 else None


def _distance(record: Mapping[str, Any], candidate: Candidate) -> float:
    """The share of what a candidate needs that is not there: 1 if nothing of it is."""
    lacks, needs = len(candidate.missing(record)), len(candidate.missing({}))
    names_list = any(name in record for name in candidate.lists)
    return min(lacks / needs, 1.0) if lacks < needs or not names_list else 0.9


def _make_pair(fields: Mapping[str, Any], origin: str) -> Row:
    if any(_are_messages(fields[name]) for name in ("prompt", "completion")):
        return _conversation(pairs.read_prompt_completion(fields, AS_IT_STANDS), origin)
    for name in ("prompt", "completion"):
        if not isinstance(fields[name], str):
            raise _no_text(name, fields[name])
    return Row("prompt_completion", origin, fields["prompt"], fields["completion"])


def _are_messages(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _make_text(fields: Mapping[str, Any], origin: str) -> Row:
    if not isinstance(fields["text"], str):
        raise _no_text("text", fields["text"])
    return Row("text", origin, text=fields["text"])


def _make_messages(fields: Mapping[str, Any], origin: str) -> Row:
    """OpenAI's chat; messages of nothing but a role and a text, which most are, are read on a short way."""
    listed = fields["messages"]
    if (
        isinstance(listed, list)
        and "tools" not in fields
        and "functions" not in fields
        and all(map(_is_plain, listed))
    ):
        return Row("messages", origin, messages=tuple(Message(m["role"], m["content"]) for m in listed))
    return _conversation(openai_chat.read(fields, AS_IT_STANDS), origin)


def _is_plain(message: Any) -> bool:
    return (
        isinstance(message, dict)
        and len(message) == 2
        and isinstance(message.get("content"), str)
        and message.get("role") in ROLES
    )


def _make_conversation(
    read: Callable[[Mapping[str, Any], Choices], Reading],
) -> Callable[[Mapping[str, Any], str], Row]:
    return lambda fields, origin: _conversation(read(fields, AS_IT_STANDS), origin)


def _conversation(reading: Reading, origin: str) -> Row:
    messages = tuple(turn.as_message() for turn in reading.threads[0])
    return Row("messages", origin, messages=messages, tools=reading.tools)


def _make_exchange(
    read: Callable[[Mapping[str, Any], Choices], Reading],
) -> Callable[[Mapping[str, Any], str], Row]:
    """Rows of one question and one answer; whatever else is said in them needs a conversation."""

    def make(fields: Mapping[str, Any], origin: str) -> Row:
        threads = read(fields, AS_IT_STANDS).threads
        if len(threads) != 1:
            raise LineFault("data-field", f"holds {len(threads)} rows in one line", fix=CONVERT)
        said = [(turn.role, turn.text) for turn in threads[0]]
        if [role for role, _ in said] != ["user", "assistant"]:
            what = "has a system text or a history, which prompt and completion cannot hold"
            raise LineFault("data-field", what, fix=CONVERT_TO_MESSAGES)
        return Row("prompt_completion", origin, said[0][1], said[1][1])

    return make


def _has_messages(record: Mapping[str, Any]) -> list[str]:
    return [] if "messages" in record else ["messages"]


def _lacks_turns(record: Mapping[str, Any]) -> list[str]:
    """ShareGPT's turns; under the name `messages` only such as have no role and content."""
    listed = record.get("messages")
    plain = isinstance(listed, list) and listed and isinstance(listed[0], dict) and "from" not in listed[0]
    others = {name: value for name, value in record.items() if name != "messages"} if plain else record
    return sharegpt.missing(others)


def _lacks_tree(record: Mapping[str, Any]) -> list[str]:
    """A whole tree; flat messages are put together by `data convert`."""
    root = record["prompt"] if isinstance(record.get("prompt"), dict) else record
    lacks = [name for name in ("role", "text") if name not in root]
    return lacks if isinstance(root.get("replies"), list) else [*lacks, "replies"]


CONVERT = "Convert the file first: luthier data convert FILE"
CONVERT_TO_MESSAGES = "Convert the file first: luthier data convert FILE --to messages"
_EXCHANGE = frozenset({"instruction", "instances", "system", "history", *alpaca.INPUTS, *alpaca.ANSWERS})

SHAPES: tuple[Shape, ...] = (
    Shape("prompt_completion", "prompt and completion", "prompt_completion", frozenset({"prompt", "completion", "tools"}), pairs.missing_prompt_completion, _make_pair),
    Shape("messages", "OpenAI chat: messages of role and content", "messages", frozenset({"messages", "tools", "functions"}), _has_messages, _make_messages, lists=("messages",)),
    Shape("text", "text", "text", frozenset({"text"}), pairs.missing_text, _make_text),
    Shape("sharegpt", "ShareGPT: conversations of from and value", "messages", frozenset({*sharegpt.LISTS, *sharegpt.SYSTEM_FIELDS, "tools", "functions"}), _lacks_turns, _make_conversation(sharegpt.read), covers=("messages",), lists=sharegpt.LISTS),
    Shape("oasst", "OpenAssistant: a tree of replies, of which the best thread is read", "messages", frozenset({"prompt", "replies", "role", "text"}), _lacks_tree, _make_conversation(oasst.read), covers=("text",)),
    Shape("alpaca", "Alpaca: instruction, input, output", "prompt_completion", _EXCHANGE, alpaca.missing, _make_exchange(alpaca.read), covers=("text", "question_answer")),
    Shape("question_answer", "question and answer", "prompt_completion", frozenset({*pairs.QUESTIONS, *pairs.ANSWERS, "choices"}), pairs.missing_question_answer, _make_exchange(pairs.read_question_answer)),
    Shape("preference", "preferences: a better and a worse answer", "preference", frozenset(preference.FIELDS), preference.missing, preference.read, covers=("prompt_completion", "question_answer")),
    Shape("tokens", "tokens: input_ids with labels or masks", "tokens", tokens.FIELDS, tokens.missing, tokens.read),
)  # fmt: skip
SHAPE_OF: Mapping[str, Shape] = {shape.name: shape for shape in SHAPES}


def guess_shape(record: Mapping[str, Any], kind: RowKind | None = None) -> Shape:
    """The shape of a record, among those that make rows of `kind` if one is given.

    Raises LineFault (data-field) if it has several, or none: then with the closest one and what is missing.
    """
    if kind is not None and SHAPE_OF.get(kind) and not SHAPE_OF[kind].missing(record):
        first = SHAPE_OF[kind]
        return SHAPE_OF["sharegpt"] if kind == "messages" and not _lacks_turns(record) else first
    found = [shape for shape in SHAPES if kind in (None, shape.kind) and not shape.missing(record)]
    covered = {name for shape in found for name in shape.covers}
    found = [shape for shape in found if shape.name not in covered]
    if kind is None and [shape.name for shape in found] in ([], ["text"]):
        _refuse_exports(record)
    if len(found) == 1:
        return found[0]
    if found:
        listed = " and of ".join(shape.name for shape in found)
        raise LineFault(
            "data-field", f"holds the fields of {listed}; say which to use: data.format={found[0].kind}"
        )
    if kind is not None:
        return SHAPE_OF[kind]
    raise _fits_none(record)


def _refuse_exports(record: Mapping[str, Any]) -> None:
    """Raise LineFault (data-field) for what `data convert` makes rows of."""
    for names, what in EXPORTS:
        if all(name in record for name in names):
            said = f"is {what}, whose messages have to be put together first"
            raise LineFault("data-field", said, fix=CONVERT)


def _fits_none(record: Mapping[str, Any]) -> LineFault:
    found = closest(record, [Candidate(shape.name, shape.missing, shape.lists) for shape in SHAPES])
    if found is None:
        listed = ", ".join(shape.name for shape in SHAPES)
        what = f"has no shape of a row ({listed}); {present(record)}"
        return LineFault("data-field", what, fix=unwrapping(record))
    lacks = found.missing(record)
    what = f"has no shape of a row; {found.name} is closest, but it lacks {' and '.join(lacks)}"
    return LineFault("data-field", f"{what}; {present(record, lacks[0])}", fix=unwrapping(record))


EXPORTS = (
    (("mapping",), "a conversation of a ChatGPT export"),
    (("message_id", "parent_id", "text"), "a flat message of OpenAssistant"),
    (("question_id", "turns"), "a question of MT-Bench"),
)


def unused_fields(record: Mapping[str, Any], shape: Shape) -> list[str]:
    """What of a record is in no row: fields that the shape does not read, and replies beside the thread that it does."""
    unused = sorted(record.keys() - shape.fields)
    if shape.name == "oasst" and _has_branches(record):
        unused.append(OTHER_BRANCHES)
    return unused


def _has_branches(record: Mapping[str, Any]) -> bool:
    reading = oasst.read(record, AS_IT_STANDS)
    return reading.messages > len(reading.threads[0])
