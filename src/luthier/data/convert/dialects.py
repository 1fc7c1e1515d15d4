"""Which dialects there are, which one a record is in, and what it lacks to be in one.

Adding a dialect: one file with `missing` and `read`, one row in DIALECTS, its test.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from luthier.data.convert import chatgpt, mt_bench
from luthier.data.convert.settle import Form
from luthier.text.dialects import alpaca, oasst, openai_chat, pairs, sharegpt
from luthier.text.dialects.preference import is_preference
from luthier.text.dialects.turns import Choices, Reading
from luthier.text.problems import LineFault
from luthier.text.shapes import SHAPE_OF, Candidate, closest, unwrapping

Records = Iterator[tuple[str, dict[str, Any]]]


@dataclass(frozen=True)
class Dialect:
    """One way to write conversations down."""

    name: str
    looks: str
    """What a row of it looks like, for people."""
    form: Form
    """The form of rows that holds it best."""
    missing: Callable[[Mapping[str, Any]], list[str]]
    read: Callable[[Mapping[str, Any], Choices], Reading]
    identity: Callable[[Mapping[str, Any]], str | None] | None = None
    """The id that no two conversations share, where there is one."""
    gather: Callable[[Records], Records] | None = None
    """Puts records together that are one conversation, where they are apart."""
    takes: tuple[str, ...] = ()
    """The choices that mean something for it."""


# The first one that a record lacks nothing of is the one that it is in.
DIALECTS = (
    Dialect("chatgpt", "ChatGPT export: conversations with a mapping of nodes", "messages", chatgpt.missing, chatgpt.read, chatgpt.identity, takes=("branches", "tools", "keep")),
    Dialect("oasst", "OpenAssistant: messages with replies or a parent_id", "messages", oasst.missing, oasst.read, gather=oasst.gather, takes=("branches",)),
    Dialect("mt-bench", "MT-Bench: question_id, turns, reference", "messages", mt_bench.missing, mt_bench.read),
    Dialect("openai", "OpenAI chat: messages of role and content", "messages", openai_chat.missing, openai_chat.read, takes=("tools",)),
    Dialect("sharegpt", "ShareGPT: conversations of from and value", "messages", sharegpt.missing, sharegpt.read, takes=("tools",)),
    Dialect("alpaca", "Alpaca: instruction, input, output", "prompt_completion", alpaca.missing, alpaca.read),
    Dialect("prompt-completion", "prompt and completion", "prompt_completion", pairs.missing_prompt_completion, pairs.read_prompt_completion, takes=("tools",)),
    Dialect("question-answer", "question and answer", "prompt_completion", pairs.missing_question_answer, pairs.read_question_answer),
    Dialect("text", "text", "text", pairs.missing_text, pairs.read_text),
)  # fmt: skip
NAMES = tuple(dialect.name for dialect in DIALECTS)


FOREIGN = (
    (("uuid", "chat_messages"), "a conversation of a Claude export"),
    (("ts", "type", "text"), "a message of a Slack export"),
    (("guild", "channel", "messages"), "a Discord export"),
)
BY_HAND = "Write it as messages of role and content, one conversation a line, and say whose turns are the assistant's."


def recognise(record: Mapping[str, Any]) -> Dialect | None:
    """The dialect that a record is in, or None."""
    if is_preference(record) or _foreign(record):
        return None
    return next((dialect for dialect in DIALECTS if not dialect.missing(record)), None)


def named(name: str) -> Dialect:
    """The dialect of a name in NAMES."""
    return next(dialect for dialect in DIALECTS if dialect.name == name)


def check_fits(record: Mapping[str, Any], dialect: Dialect) -> None:
    """Raise LineFault (data-dialect) if a record is not in the dialect."""
    lacks = dialect.missing(record)
    if not lacks and not is_preference(record) and not _foreign(record):
        return
    other = recognise(record)
    if other is not None:
        fix = f"Convert the two kinds apart from each other; if it is {other.name} throughout: --from {other.name}"
        raise LineFault("data-dialect", f"is {other.name}, and not {dialect.name} as the rest", fix=fix)
    raise fits_none(record)


def unread_fields(record: Mapping[str, Any], dialect: Dialect) -> list[str]:
    """The fields of a record that are in no row; nothing is said of exports and trees, which are full of such."""
    shape = SHAPE_OF.get({"openai": "messages"}.get(dialect.name, dialect.name.replace("-", "_")))
    return sorted(record.keys() - shape.fields) if shape and dialect.name != "oasst" else []


def fits_none(record: Mapping[str, Any]) -> LineFault:
    """The fault of a record that is in no dialect: which one is closest, and what it lacks."""
    shown = ", ".join(str(name)[:40] for name in list(record)[:8]) or "nothing"
    if is_preference(record):
        what = f"is a pair of a better and a worse answer, which is read as it is and needs no conversion; it has: {shown}"
        return LineFault("data-dialect", what)
    if foreign := _foreign(record):
        return LineFault(
            "data-dialect", f"is {foreign}, which is not converted; it has: {shown}", fix=BY_HAND
        )
    found = closest(record, [Candidate(each.name, each.missing, _lists(each.name)) for each in DIALECTS])
    if found is None:
        what = f"fits no dialect ({', '.join(NAMES)}); it has: {shown}"
        return LineFault("data-dialect", what, fix=unwrapping(record))
    lacks = " and ".join(found.missing(record))
    return LineFault(
        "data-dialect", f"fits no dialect; {found.name} is closest, but it lacks {lacks}; it has: {shown}"
    )


def _foreign(record: Mapping[str, Any]) -> str:
    """What an object is of another program's export; nothing for all others. Some of them look like a dialect: Slack's have a text."""
    for names, what in FOREIGN:
        if all(name in record for name in names):
            return what
    first = record["messages"][0] if isinstance(record.get("messages"), list) and record["messages"] else None
    return "a Telegram export" if isinstance(first, dict) and "from_id" in first else ""


def _lists(name: str) -> tuple[str, ...]:
    """The list that a dialect is made of, by the names that it goes by."""
    return {"chatgpt": ("mapping",), "openai": ("messages",), "sharegpt": sharegpt.LISTS}.get(name, ())
