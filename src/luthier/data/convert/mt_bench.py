"""Read MT-Bench questions: turns of one asker, and for some of them reference answers. Without an answer there is no row."""

from collections.abc import Mapping
from typing import Any

from luthier.text.dialects.turns import EMPTY, Choices, Reading, Turn, add_turn, need_text
from luthier.text.problems import LineFault, describe

NO_REFERENCE = "no reference answer"


def missing(record: Mapping[str, Any]) -> list[str]:
    """What an object lacks to be a question of MT-Bench."""
    return [name for name in ("question_id", "turns") if name not in record]


def read(record: Mapping[str, Any], choices: Choices) -> Reading:
    """The questions with their reference answers, as far as there are answers."""
    questions, answers = _texts(record, "turns"), _texts(record, "reference")
    reading = Reading(messages=len(questions) + len(answers))
    if not answers:
        reading.reason = NO_REFERENCE
        return reading
    thread: list[Turn] = []
    answered = next((at for at, answer in enumerate(answers) if not answer.strip()), len(answers))
    for at in range(min(answered, len(questions))):
        add_turn(reading, thread, Turn("user", questions[at], (at,)), choices)
        add_turn(reading, thread, Turn("assistant", answers[at], (len(questions) + at,)), choices)
    reading.dropped |= dict.fromkeys(range(len(thread) // 2, len(questions)), NO_REFERENCE)
    reading.dropped |= dict.fromkeys(range(len(questions) + len(thread) // 2, reading.messages), EMPTY)
    reading.threads.append(thread)
    return reading


def _texts(record: Mapping[str, Any], name: str) -> list[str]:
    value = record.get(name)
    values = [value] if isinstance(value, str) else value or []
    if not isinstance(values, list):
        raise LineFault("data-field", f"{name} is {describe(value)}, not a list of texts")
    return [need_text(text, f"{name}[{at}]") for at, text in enumerate(values)]
