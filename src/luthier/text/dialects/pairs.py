"""Read rows that are a pair already: prompt and completion, question and answer; and rows of text alone."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from luthier.text.dialects.openai_chat import read_messages
from luthier.text.dialects.tools import read_tools
from luthier.text.dialects.turns import Choices, Reading, Turn, add_turn, need_text, text_or_number
from luthier.text.problems import LineFault, describe

PROMPT_COMPLETION = ("prompt", "completion")
# Which columns ask and which answer, in the data sets that people bring.
QUESTIONS = ("question", "query", "input")
ANSWERS = ("answer", "response", "target", "output")


def missing_prompt_completion(record: Mapping[str, Any]) -> list[str]:
    """What an object lacks to be a pair of prompt and completion."""
    return [name for name in PROMPT_COMPLETION if name not in record]


def read_prompt_completion(record: Mapping[str, Any], choices: Choices) -> Reading:
    """One thread; prompt and completion are text, or lists of messages."""
    prompt, completion = (record[name] for name in PROMPT_COMPLETION)
    if isinstance(prompt, list) or isinstance(completion, list):
        sides = [
            side if isinstance(side, list) else [{"role": role, "content": need_text(side, name)}]
            for side, role, name in ((prompt, "user", "prompt"), (completion, "assistant", "completion"))
        ]
        return _join(
            read_messages(sides[0], "prompt", choices), read_messages(sides[1], "completion", choices), record
        )
    return _pair(need_text(prompt, "prompt"), need_text(completion, "completion"), choices)


def _join(prompt: Reading, completion: Reading, record: Mapping[str, Any]) -> Reading:
    """Both sides as one thread; answers in the prompt are context and never learnt."""
    asked = [replace(turn, weight=0) if turn.role == "assistant" else turn for turn in prompt.threads[0]]
    moved = [
        replace(turn, numbers=tuple(number + prompt.messages for number in turn.numbers))
        for turn in completion.threads[0]
    ]
    dropped = {number + prompt.messages: reason for number, reason in completion.dropped.items()}
    return Reading(
        messages=prompt.messages + completion.messages,
        threads=[[*asked, *moved]],
        dropped=prompt.dropped | dropped,
        tools=read_tools(record),
    )


def missing_question_answer(record: Mapping[str, Any]) -> list[str]:
    """What an object lacks to be a question with its answer."""
    lacks = [] if any(name in record for name in QUESTIONS) else [QUESTIONS[0]]
    return lacks if any(name in record for name in ANSWERS) else [*lacks, ANSWERS[0]]


def read_question_answer(record: Mapping[str, Any], choices: Choices) -> Reading:
    """One thread; what there is to choose from stands below the question, one choice a line."""
    question, answer = (
        next((name, record[name]) for name in names if name in record) for names in (QUESTIONS, ANSWERS)
    )
    offered = record.get("choices") or []
    if not isinstance(offered, list) or not all(isinstance(choice, str) for choice in offered):
        raise LineFault("data-field", f"choices is {describe(offered)}, not a list of texts")
    lines = [text_or_number(question[1], question[0]), *(f"- {choice}" for choice in offered)]
    return _pair("\n".join(lines), text_or_number(answer[1], answer[0]), choices)


def missing_text(record: Mapping[str, Any]) -> list[str]:
    """What an object lacks to be a row of text."""
    return [] if "text" in record else ["text"]


def read_text(record: Mapping[str, Any], choices: Choices) -> Reading:
    """One thread of one turn, of a role that only rows of text have."""
    return Reading(messages=1, threads=[[Turn("text", need_text(record["text"], "text"), (0,))]])


def _pair(question: str, answer: str, choices: Choices) -> Reading:
    reading = Reading(messages=2, threads=[[]])
    for turn in (Turn("user", question, (0,)), Turn("assistant", answer, (1,))):
        add_turn(reading, reading.threads[0], turn, choices)
    return reading
