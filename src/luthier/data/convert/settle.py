"""Turn the threads of a record into rows that `luthier prepare` reads, and enter every message into the books."""

import itertools
import json
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal

from luthier.data.convert.books import ConversionBooks
from luthier.text.dialects.turns import ANOTHER_BRANCH, EMPTY, Reading, Turn

Form = Literal["messages", "prompt_completion", "text"]

BEFORE_FIRST_QUESTION = "before the first question"
AFTER_LAST_ANSWER = "after the last answer"
LATER_TURN = "later turn: prompt_completion holds one exchange"
OF_DROPPED = "in a conversation that was left out"
NO_PAIR = "no question with an answer"
NOT_LEARNT = "the answer has weight 0, which prompt and completion cannot say"
PART_OF_BRANCH = "the same as another branch, or its beginning"
MERGED = "message joined with the one before, of the same speaker"
MENDED = "half of a surrogate pair replaced by U+FFFD"
JOINT = "\n\n"
HALF = re.compile("[\ud800-\udfff]")


def settle(reading: Reading, form: Form, books: ConversionBooks) -> list[dict[str, Any]]:
    """The rows of a record. What came in and is in none of them is entered with its reason."""
    rows: list[dict[str, Any]] = []
    kept: set[int] = set()
    reasons = dict(reading.dropped)
    why = nothing = EMPTY if form == "text" else NO_PAIR
    books.threads.came_in += len(reading.threads) + reading.threads_dropped.total()
    books.threads.dropped += reading.threads_dropped
    threads = [limit_to_form(trim(thread, reasons), form, reasons) for thread in reading.threads]
    beginnings = {key for turns in threads for key in _keys(turns)[:-1]}
    for turns in threads:
        row = make_row(turns, form)
        if row is None:
            unsaid = form == "prompt_completion" and turns and not turns[-1].weight
            why = NOT_LEARNT if unsaid else nothing
            books.threads.dropped[why] += 1
            reasons |= {number: OF_DROPPED for turn in turns for number in turn.numbers}
            continue
        key = _keys(turns)[-1]
        if key in beginnings:
            books.threads.dropped[PART_OF_BRANCH] += 1
            continue
        beginnings.add(key)
        rows.append(row)
        for turn in turns:
            if not kept.issuperset(turn.numbers):
                books.notes.update(turn.notes)
                kept.update(turn.numbers)
    books.threads.kept += len(rows)
    _enter(reading, rows, kept, reasons, books, why)
    return rows


def _keys(turns: list[Turn]) -> list[int]:
    """One number for each beginning of a thread, the last for the whole of it."""
    keys = list(itertools.accumulate(turns, lambda key, turn: hash((key, turn.role, turn.text)), initial=0))
    return keys[1:]


def _enter(
    reading: Reading,
    rows: list[dict[str, Any]],
    kept: set[int],
    reasons: dict[int, str],
    books: ConversionBooks,
    nothing: str,
) -> None:
    books.conversations.came_in += 1
    if rows:
        books.conversations.kept += 1
    else:
        books.conversations.dropped[reading.reason or nothing] += 1
    books.messages.came_in += reading.messages
    for number in range(reading.messages):
        if number in kept:
            books.messages.kept += 1
        else:
            books.messages.dropped[reasons.get(number, ANOTHER_BRANCH if rows else OF_DROPPED)] += 1


def trim(thread: Iterable[Turn], reasons: dict[int, str]) -> list[Turn]:
    """A thread from its first question to its last answer, the turns of one speaker joined."""
    turns: list[Turn] = []
    is_asked = False
    for turn in map(_mend, thread):
        is_asked = is_asked or turn.role == "user"
        if not turn.text.strip():
            _give_reason(turn, EMPTY, reasons)
        elif not is_asked and turn.role not in ("system", "developer", "text"):
            _give_reason(turn, BEFORE_FIRST_QUESTION, reasons)
        elif turns and _may_join(turns[-1], turn):
            last = turns[-1]
            joined = last.text + JOINT + turn.text
            notes = (*last.notes, *turn.notes, MERGED)
            turns[-1] = replace(last, text=joined, numbers=(*last.numbers, *turn.numbers), notes=notes)
        else:
            turns.append(turn)
    if any(turn.role == "assistant" for turn in turns):
        while turns[-1].role != "assistant":
            _give_reason(turns.pop(), AFTER_LAST_ANSWER, reasons)
    return turns


def _may_join(last: Turn, turn: Turn) -> bool:
    return last.role == turn.role and turn.role != "tool" and last.weight == turn.weight


def limit_to_form(turns: list[Turn], form: Form, reasons: dict[int, str]) -> list[Turn]:
    """The turns that a row of the form can hold: of a conversation, prompt and completion hold the first exchange."""
    if form != "prompt_completion":
        return turns
    answer_at = next((at for at, turn in enumerate(turns) if turn.role == "assistant"), len(turns))
    for turn in turns[answer_at + 1 :]:
        _give_reason(turn, LATER_TURN, reasons)
    return turns[: answer_at + 1]


def make_row(turns: list[Turn], form: Form) -> dict[str, Any] | None:
    """The row, or None if there is no question with an answer in it (for `text`, no text)."""
    if form == "text":
        return {"text": turns[0].text} if turns else None
    if not turns or turns[-1].role != "assistant" or not any(turn.role == "user" for turn in turns):
        return None
    if form == "messages":
        return {"messages": [_message(turn) for turn in turns]}
    if not turns[-1].weight:
        return None
    return {"prompt": JOINT.join(turn.text for turn in turns[:-1]), "completion": turns[-1].text}


def _message(turn: Turn) -> dict[str, Any]:
    message: dict[str, Any] = {"role": turn.role, "content": turn.text}
    return message if turn.weight else {**message, "weight": 0}


def row_line(row: dict[str, Any]) -> str:
    """The row as a line of JSON Lines."""
    return json.dumps(row, ensure_ascii=False) + "\n"


def _mend(turn: Turn) -> Turn:
    """Python reads half of a surrogate pair from an escape; it is no text, and no file can hold it."""
    text, count = HALF.subn("\ufffd", turn.text)
    return replace(turn, text=text, notes=(*turn.notes, MENDED)) if count else turn


def _give_reason(turn: Turn, reason: str, reasons: dict[int, str]) -> None:
    reasons.update(dict.fromkeys(turn.numbers, reason))
