"""Where a chat template puts what is said: the first of two ways to find what the assistant has to write.

The template is rendered once with placeholders instead of what is said (outline.py). Between the placeholders stands the
template's own text, the scaffold; a real conversation must be that scaffold with what is said filled in. What the assistant
writes runs from the end of the header it is given (`add_generation_prompt`) to the end of the token that ends its turn.

Works on characters only; chat.py turns them into tokens and compares with the second way.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from luthier.text.outline import PLACEHOLDER, Hole, placeholder
from luthier.text.problems import LineFault

Span = tuple[int, int]


@dataclass(frozen=True)
class Ends:
    """The tokens that may end a turn."""

    pattern: re.Pattern[str]
    """Finds every control token."""
    stops: frozenset[str]
    """Those at which an answer stops when the model is used."""

    def last_in(self, text: str) -> int | None:
        """Where the token that ends the turn ends; None if there is none.

        That is the last control token, unless it follows another stop with nothing but white space between: a model stops
        there and never writes the rest.
        """
        found = list(self.pattern.finditer(text))
        if not found:
            return None
        last = found.pop()
        while (
            found
            and {last[0], found[-1][0]} <= self.stops
            and not text[found[-1].end() : last.start()].strip()
        ):
            last = found.pop()
        return last.end()


@dataclass(frozen=True)
class RenderedTurn:
    """An assistant turn with placeholders: the text up to its header, and up to its end."""

    message: int
    before: str
    after: str


@dataclass(frozen=True)
class Scaffold:
    """The template's own text around what is said."""

    literals: tuple[str, ...]
    """One more than there are holes: the text before each hole, and the text after the last."""
    holes: tuple[int, ...]
    """The number of the hole that stands at each place."""
    spans: tuple[Span, ...]
    """What the assistant writes, in characters of the text with placeholders."""

    def fill(self, text: str, holes: Sequence[Hole]) -> list[Span] | None:
        """The spans in a real text, or None if it is not this scaffold with the texts of `holes` filled in."""
        shifts: list[tuple[int, int]] = []
        at, placeholder_at = 0, 0
        for number, literal in enumerate(self.literals):
            if not text.startswith(literal, at):
                return None
            shifts.append((placeholder_at, at - placeholder_at))
            at += len(literal)
            placeholder_at += len(literal)
            if number == len(self.holes):
                break
            filling = _filling(text, at, holes[self.holes[number]], self.literals[number + 1])
            if filling is None:
                return None
            at += len(filling)
            placeholder_at += len(placeholder(self.holes[number]))
        if at != len(text):
            return None
        return [(_shift(start, shifts), _shift(end, shifts)) for start, end in self.spans]


def build_scaffold(full: str, turns: Sequence[RenderedTurn], holes: Sequence[Hole], ends: Ends) -> Scaffold:
    """Take apart a conversation that was rendered with placeholders; `ends` finds tokens that may end a turn.

    Raises LineFault if the template leaves out what is said, writes a turn in another way once more turns follow, or never
    ends it.
    """
    pieces = PLACEHOLDER.split(full)
    places = tuple(int(number) for number in pieces[1::2])
    learnt = {turn.message for turn in turns}
    for number, hole in enumerate(holes):
        # Templates that think forget what was thought before earlier answers, when the model is used as well.
        may_miss = hole.part == "thinking" and hole.message not in learnt
        if number not in places and not may_miss:
            raise _left_out(turns, holes, hole)
    spans = tuple(_span(full, turn, holes, ends) for turn in turns)
    return Scaffold(tuple(pieces[::2]), places, spans)


def _span(full: str, turn: RenderedTurn, holes: Sequence[Hole], ends: Ends) -> Span:
    # Some templates end every text with a token of its own, which is not there where more turns follow.
    shared = _shared_length(full, turn.after)
    mine = [placeholder(number) for number, hole in enumerate(holes) if hole.message == turn.message]
    written = full[len(turn.before) : shared]
    if not full.startswith(turn.before) or any(each not in written for each in mine):
        raise LineFault("data-mask", UNSTABLE, fix=UNSTABLE_FIX)
    if any(written.count(each) != 1 for each in mine):
        raise LineFault("data-mask", f"the chat template writes the assistant's turn {turn.message} twice")
    said_end = len(turn.before) + max(written.index(each) + len(each) for each in mine)
    ended_at = ends.last_in(full[said_end:shared])
    if ended_at is not None:
        return len(turn.before), said_end + ended_at
    if shared < len(turn.after) and ends.pattern.search(turn.after[said_end:]):
        raise LineFault("data-mask", UNSTABLE, fix=UNSTABLE_FIX)
    raise LineFault("data-template", UNENDED, fix=UNENDED_FIX)


def _shared_length(left: str, right: str) -> int:
    """How many first characters two texts share."""
    differs = (at for at, (here, there) in enumerate(zip(left, right, strict=False)) if here != there)
    return next(differs, min(len(left), len(right)))


def _filling(text: str, at: int, hole: Hole, literal: str) -> str | None:
    """How the template wrote what is said."""
    if text.startswith(hole.text + literal, at):  # almost always
        return hole.text
    return next((each for each in hole.spellings() if text.startswith(each + literal, at)), None)


def _shift(position: int, shifts: Sequence[tuple[int, int]]) -> int:
    """A position of the text with placeholders, which lies in a literal, in the real text."""
    return position + next(shift for start, shift in reversed(shifts) if start <= position)


def _left_out(turns: Sequence[RenderedTurn], holes: Sequence[Hole], hole: Hole) -> LineFault:
    """A turn that is forgotten once more turns follow is unstable; anything else is lost."""
    number = holes.index(hole)
    if any(turn.message == hole.message and placeholder(number) in turn.after for turn in turns):
        return LineFault("data-mask", UNSTABLE, fix=UNSTABLE_FIX)
    if hole.part == "tool call":
        return LineFault("data-template", NO_CALLS, fix=NO_TOOLS_FIX)
    what = f"the chat template leaves out the {hole.part} of message {hole.message} ({hole.role})"
    return LineFault("data-template", what, fix=LEFT_OUT_FIX)


UNSTABLE = "the chat template writes a turn in another way once more turns follow, so it cannot be learnt as it is used"
UNSTABLE_FIX = "Train on the last answer of each conversation: data.train_on=last"
UNENDED = "the chat template ends the assistant's turn without a special token, so nothing would teach the model to stop"
UNENDED_FIX = (
    "Use a template that ends a turn with the tokenizer's end-of-turn token, or prompt/completion rows."
)
LEFT_OUT_FIX = "Remove such messages from the rows, or use a template that writes them."
NO_CALLS = "the chat template leaves tool calls out, so the model would learn to answer without them"
NO_TOOLS = (
    "the chat template leaves the row's tools out, so the model would learn to call what it was not told of"
)
NO_TOOLS_FIX = "Use a template that writes tools, or turn calls into text: luthier data convert --tools text"
