"""Read Alpaca rows and their variants: an instruction, perhaps an input to it, and the answer.

`response` for `output` is gpteacher's and Dolly's, `context` for `input` Dolly's, `instances` Self-Instruct's.
"""

from collections.abc import Mapping
from typing import Any

from luthier.text.dialects.turns import (
    Choices,
    Reading,
    Turn,
    add_turn,
    need_object,
    need_text,
    text_or_number,
)
from luthier.text.problems import LineFault, describe

INPUTS = ("input", "context")
ANSWERS = ("output", "response", "completion", "answer")


def missing(record: Mapping[str, Any]) -> list[str]:
    """What an object lacks to be an Alpaca row."""
    has_answer = isinstance(record.get("instances"), list) or any(name in record for name in ANSWERS)
    lacks = [] if "instruction" in record else ["instruction"]
    return lacks if has_answer else [*lacks, ANSWERS[0]]


def read(record: Mapping[str, Any], choices: Choices) -> Reading:
    """One thread, or one an instance. Raises LineFault naming the field that cannot be read."""
    instruction = need_text(record.get("instruction"), "instruction")
    instances = record.get("instances")
    if not isinstance(instances, list):
        return _read_one(record, instruction, choices)
    reading = Reading(messages=2 * len(instances))
    for at, value in enumerate(instances):
        instance = need_object(value, f"instances[{at}]")
        thread: list[Turn] = []
        for turn in _exchange(instance, instruction, 2 * at):
            add_turn(reading, thread, turn, choices)
        reading.threads.append(thread)
    return reading


def _read_one(record: Mapping[str, Any], instruction: str, choices: Choices) -> Reading:
    """A row with the turns before it: the system's text, and earlier exchanges in `history`."""
    said = [("system", need_text(record.get("system"), "system"))] if record.get("system") else []
    history = record.get("history") or []
    if not isinstance(history, list):
        raise LineFault("data-field", f"history is {describe(history)}, not a list of pairs")
    for at, pair in enumerate(history):
        if not isinstance(pair, list) or len(pair) != 2:
            raise LineFault("data-field", f"history[{at}] is no pair of question and answer")
        said.append(("user", need_text(pair[0], f"history[{at}][0]")))
        said.append(("assistant", need_text(pair[1], f"history[{at}][1]")))
    turns = [Turn(role, text, (number,)) for number, (role, text) in enumerate(said)]
    turns += _exchange(record, instruction, len(said))
    reading = Reading(messages=len(turns), threads=[[]])
    for turn in turns:
        add_turn(reading, reading.threads[0], turn, choices)
    return reading


def _says(value: Any) -> bool:
    return value is not None and value != ""


def _exchange(fields: Mapping[str, Any], instruction: str, number: int) -> list[Turn]:
    """The question, which is instruction and input with a blank line between, and the answer."""
    given = next((text_or_number(fields[name], name) for name in INPUTS if _says(fields.get(name))), "")
    answer = next((text_or_number(fields[name], name) for name in ANSWERS if name in fields), "")
    question = "\n\n".join(text for text in (instruction, given) if text.strip())
    return [Turn("user", question, (number,)), Turn("assistant", answer, (number + 1,))]
