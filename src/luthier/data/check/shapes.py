"""Which shape a row has, by its fields; and of a row of none, which is closest and what it lacks."""

from collections.abc import Mapping
from typing import Any

from luthier.data.check.kinds import Fault
from luthier.floor.lookup import nearest
from luthier.text.dialects import alpaca, pairs, preference, sharegpt
from luthier.text.row_shapes import FIELDS

Fields = Mapping[str, Any]

# The shapes of the guide, by which the closest one to a row of none is told.
TRAINED: Mapping[str, tuple[str, ...]] = {str(kind): names for kind, names in FIELDS.items()}
KIND_OF = {
    **{name: name for name in TRAINED},
    "sharegpt": "messages",
    "oasst": "messages",
    "oasst tree": "messages",
    "alpaca": "prompt_completion",
    "question-answer": "prompt_completion",
    "preference": "preference",
    "tokens": "tokens",
}
"""What rows of a shape become, where training reads it."""
# Many conversations a row, or one over many rows: their turns are judged once they are converted.
# The type of a field that tells one, and of one that stands beside it.
TREES: Mapping[str, tuple[tuple[str, type], ...]] = {
    "chatgpt": (("mapping", dict),),
    "oasst": (("role", str), ("replies", list)),
    "oasst tree": (("prompt", dict), ("message_tree_id", str)),
    "oasst messages": (("message_id", str), ("text", str), ("role", str)),
    "mt-bench": (("question_id", int), ("turns", list)),
    "self-instruct": (("instruction", str), ("instances", list)),
}
# Fields that go with a shape beside its own: read, or known to be let pass on purpose.
COMPANIONS = {
    "messages": {"tools", "functions", "parallel_tool_calls", "weight"},
    "prompt_completion": {"weight"},
    "text": {"id", "source", "license"},
}


def shape_of(fields: Fields) -> str | Fault | None:
    """The name of the shape; a fault where two fit; None where none does."""
    found = [name for name, names in TRAINED.items() if all(each in fields for each in names)]
    if len(found) > 1:
        return Fault("two-shapes", f"holds the fields of {' and of '.join(found)}")
    if found == ["messages"] and _is_from_and_value(fields["messages"]):
        return "sharegpt"
    if found and found != ["text"]:
        return found[0]
    if any(all(name in fields for name in names) for names in (preference.PAIR, preference.OPENAI)):
        return "preference"
    if not found and "input_ids" in fields:
        return "tokens"
    for name, wanted in TREES.items():
        if all(isinstance(fields.get(each), kind) for each, kind in wanted):
            return name
    if found:
        return found[0]
    if any(name in fields for name in sharegpt.LISTS):
        return "sharegpt"
    if "instruction" in fields and any(name in fields for name in alpaca.ANSWERS):
        return "alpaca"
    return None if _lacks_question_or_answer(fields) else "question-answer"


def _is_from_and_value(messages: Any) -> bool:
    return (
        isinstance(messages, list)
        and bool(messages)
        and isinstance(messages[0], dict)
        and "from" in messages[0]
    )


def _lacks_question_or_answer(fields: Fields) -> bool:
    asked = next((name for name in pairs.QUESTIONS if name in fields), None)
    return asked is None or not any(name in fields and name != asked for name in pairs.ANSWERS)


def missing_shape(fields: Fields) -> Fault:
    """Why a row has no shape: the closest one, what it lacks, and a name that may be meant for that."""
    shown = ", ".join(str(name)[:40] for name in list(fields)[:8])
    has = f"it has: {shown}" if fields else "the object is empty"
    needs = {**TRAINED, "question-answer": ("question", "answer"), "alpaca": ("instruction", "output")}
    closest = max(needs, key=lambda name: _likeness(fields, needs[name]))
    if not fields or not _likeness(fields, needs[closest]):
        return Fault("unknown-shape", f"has no field of any shape; {has}")
    lacks = [name for name in needs[closest] if name not in fields]
    what = f"{closest} is closest, and lacks {' and '.join(lacks)}; {has}"
    meant = [(near[0], name) for name in lacks if (near := nearest(name, map(str, fields)))]
    kind = "missing-field" if any(name in fields for name in needs[closest]) else "unknown-shape"
    if meant:
        return Fault(kind, what, "; ".join(f"rename {wrong!r} to {right!r}" for wrong, right in meant))
    return Fault(kind, what)


def _likeness(fields: Fields, names: tuple[str, ...]) -> float:
    """The share of the names that are there, near misses for half."""
    there = sum(1.0 if name in fields else 0.5 * bool(nearest(name, map(str, fields))) for name in names)
    return there / len(names)


def unused_fields(fields: Fields, shape: str) -> list[str]:
    """Fields that training passes over."""
    if shape not in TRAINED or len(fields) == len(TRAINED[shape]):
        return []
    return [str(name) for name in fields if name not in TRAINED[shape] and name not in COMPANIONS[shape]]


def is_number_zero_or_one(value: Any) -> bool:
    """Whether a weight says what a weight may say."""
    return not isinstance(value, bool) and value in (0, 1)
