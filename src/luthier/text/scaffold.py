"""Where a chat template puts what is said: the first of two ways to find what the assistant has to write.

The template is rendered once with placeholders instead of the messages' contents. Between the placeholders stands the
template's own text, the scaffold; a real conversation must be that scaffold with the contents filled in. What the assistant
writes runs from the end of the header it is given (`add_generation_prompt`) to the end of the token that ends its turn.

Works on characters only; chat.py turns them into tokens and compares with the second way.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from luthier.text.problems import LineFault
from luthier.text.row_shapes import Message

# Private-use characters: no template strips, splits or compares them.
PLACEHOLDER = re.compile("\ue000(\\d+)\ue001")

Span = tuple[int, int]


def with_placeholders(messages: Sequence[Message]) -> list[Message]:
    """The same turns with a placeholder each instead of what is said."""
    return [Message(message.role, f"\ue000{number}\ue001") for number, message in enumerate(messages)]


@dataclass(frozen=True)
class RenderedTurn:
    """An assistant turn with placeholders: the text up to its header, and up to its end."""

    message: int
    before: str
    after: str


@dataclass(frozen=True)
class Scaffold:
    """The template's own text around the contents."""

    literals: tuple[str, ...]
    """One more than there are holes: the text before each hole, and the text after the last."""
    holes: tuple[int, ...]
    """The number of the message whose content fills each hole."""
    spans: tuple[Span, ...]
    """What the assistant writes, in characters of the text with placeholders."""

    def fill(self, text: str, contents: Sequence[str]) -> list[Span] | None:
        """The spans in a real text, or None if it is not this scaffold with `contents` (or those stripped) filled in."""
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
            filling = self._filling(text, at, contents[self.holes[number]], self.literals[number + 1])
            if filling is None:
                return None
            at += len(filling)
            placeholder_at += len(f"\ue000{self.holes[number]}\ue001")
        if at != len(text):
            return None
        return [(_shift(start, shifts), _shift(end, shifts)) for start, end in self.spans]

    def _filling(self, text: str, at: int, content: str, literal: str) -> str | None:
        """How the template wrote a content: as it is, or without its outer white space."""
        for written in (content, content.strip(), content.lstrip(), content.rstrip()):
            if text.startswith(written + literal, at):
                return written
        return None


def build_scaffold(full: str, turns: Sequence[RenderedTurn], ends: re.Pattern[str]) -> Scaffold:
    """Take apart a conversation that was rendered with placeholders; `ends` finds tokens that may end a turn.

    Raises LineFault if the template writes a turn in another way once more turns follow, or never ends it.
    """
    pieces = PLACEHOLDER.split(full)
    holes = tuple(int(number) for number in pieces[1::2])
    spans = tuple(_span(full, turn, holes, ends) for turn in turns)
    return Scaffold(tuple(pieces[::2]), holes, spans)


def _span(full: str, turn: RenderedTurn, holes: Sequence[int], ends: re.Pattern[str]) -> Span:
    if holes.count(turn.message) != 1:
        raise LineFault("data-mask", f"the chat template writes the assistant's turn {turn.message} not once")
    if not (full.startswith(turn.before) and full.startswith(turn.after)):
        raise LineFault("data-mask", UNSTABLE, fix=UNSTABLE_FIX)
    content_end = full.index(f"\ue000{turn.message}\ue001") + len(f"\ue000{turn.message}\ue001")
    found = [match.end() for match in ends.finditer(full[content_end : len(turn.after)])]
    if not found or len(turn.before) > content_end:
        raise LineFault("data-template", UNENDED, fix=UNENDED_FIX)
    return len(turn.before), content_end + found[-1]


def _shift(position: int, shifts: Sequence[tuple[int, int]]) -> int:
    """A position of the text with placeholders, which lies in a literal, in the real text."""
    return position + next(shift for start, shift in reversed(shifts) if start <= position)


UNSTABLE = "the chat template writes a turn in another way once more turns follow, so it cannot be learnt as it is used"
UNSTABLE_FIX = "Train on the last answer of each conversation: data.train_on=last"
UNENDED = "the chat template ends the assistant's turn without a special token, so nothing would teach the model to stop"
UNENDED_FIX = (
    "Use a template that ends a turn with the tokenizer's end-of-turn token, or prompt/completion rows."
)
