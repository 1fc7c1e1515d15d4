"""Find out how a chat template writes conversations, by what it renders and not by its name.

Conversations of placeholders are rendered; what stands between the placeholders is the template's own text. Five ways to treat a
system text are told apart: a turn like others, at the top, before the first question, before the last one, and none. A template that
fits none of them has no style; whether one that seems to have it has it indeed is proven elsewhere, on whole conversations.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from luthier.text.outline import PLACEHOLDER, placeholder
from luthier.text.row import Message
from luthier.text.template import Conversation, TemplateRefusal

System = Literal["turn", "top", "first question", "last question", "none"]
Render = Callable[[Sequence[Conversation]], list[str | TemplateRefusal]]
PARTS = {"system": "S", "user": "U", "assistant": "A"}
BLANKS = " \t\n"


class NoStyle(Exception):
    """The template writes conversations in a way that has no form here; the message says what it does."""


@dataclass(frozen=True)
class Style:
    """A template's own text around what is said."""

    begin: str
    """Before everything, where no system text is given: a default system turn, as a rule nothing."""
    system: System
    system_before: str
    system_after: str
    """Around a system text. Before a question it takes the place of `begin` and `user_before`, up to the question."""
    user_before: str
    user_after: str
    answer_before: str
    answer_after: str
    header: str
    """What an answer to come is asked for with."""
    trims: tuple[str, ...]
    """The roles whose texts lose the white space around them."""
    later_system: tuple[str, str] | None
    """Around a system text that is a turn and not the first message; None where such texts are dropped."""
    begins_unless_any: bool
    """`begin` is left out where any message is a system text, not only the first."""
    bos: str
    """A BOS token that stands before everything, whatever follows."""


def read_style(probe: "StyleProbe", *, bos: str) -> Style:
    """The style of a template. `bos` is the tokenizer's BOS token or nothing. Raises NoStyle."""
    u, ua, uau = probe.pieces("U"), probe.pieces("UA", wants_prompt=False), probe.pieces("UAU")
    alone = probe.pieces("U", wants_prompt=False)
    if u[0] != uau[0] or u[1] != uau[3]:
        raise NoStyle("it writes a first question otherwise once more turns follow")
    begins = bos if bos and u[0].startswith(bos) else ""
    first = u[0].removeprefix(begins)
    user_after = probe.shared_start(alone[1], u[1], uau[1])
    answer_before, header = uau[1][len(user_after) :], u[1][len(user_after) :]
    answer_after, user_before = _split_answer_end(probe, ua[2], uau[2], first)
    begin = first.removesuffix(user_before)
    system, before, after = _read_system(probe, begins, user_before, answer_after)
    later = _read_later_system(probe, begins, answer_after, user_before, first=(before, after))
    return Style(
        begin=begin,
        system="top" if system == "turn" and later.is_at_top else system,
        system_before=before,
        system_after=after,
        user_before=user_before,
        user_after=user_after,
        answer_before=answer_before,
        answer_after=answer_after,
        header=header,
        trims=_trimmed(probe, system),
        later_system=later.around,
        begins_unless_any=bool(begin) and later.lacks_begin,
        bos=begins,
    )


@dataclass(frozen=True)
class StyleProbe:
    """Renders conversations of placeholders."""

    render: Render
    control: re.Pattern[str]
    """Finds the tokenizer's control tokens."""

    def pieces(self, roles: str, *, wants_prompt: bool = True, tools: str = "") -> list[str]:
        """The text around the placeholders of a conversation, such as UAU. Raises NoStyle if that is not what comes out."""
        found = self.ask(roles, wants_prompt=wants_prompt, tools=tools)
        if isinstance(found, TemplateRefusal):
            raise NoStyle(f"it refuses a conversation of {_said(roles)}: {found}")
        order = [int(number) for number in PLACEHOLDER.findall(found)]
        if order != list(range(len(roles))):
            raise NoStyle(f"of {_said(roles)} it does not write each message once and in order")
        return PLACEHOLDER.sub("\0", found).split("\0")

    def ask(
        self, roles: str, *, wants_prompt: bool = True, around: str = "", padded: str = "", tools: str = ""
    ) -> str | TemplateRefusal:
        """What comes out for a conversation, with blanks around the texts of the role `padded`."""
        names = {sign: name for name, sign in PARTS.items()}
        messages = [
            Message(
                names[sign], around + placeholder(place) + around if sign == padded else placeholder(place)
            )
            for place, sign in enumerate(roles)
        ]
        return self.render([Conversation(messages, wants_prompt, tools)])[0]

    def shared_start(self, *texts: str) -> str:
        """What all texts begin with, no token cut."""
        length = 0
        while all(len(text) > length for text in texts) and len({text[length] for text in texts}) == 1:
            length += 1
        return texts[0][: self.before_token(texts[0], length)]

    def before_token(self, text: str, place: int) -> int:
        """The place itself, or the start of the control token that it would cut."""
        for found in self.control.finditer(text):
            if found.start() < place < found.end():
                return found.start()
        # A token that only the other text has: `<|end|>` and `<|endoftext|>` share their start.
        opened = re.search(r"<[^<>\s]*$", text[:place])
        return opened.start() if opened and self.control.match(text, opened.start()) else place

    def shared_end(self, first: str, second: str) -> str:
        """What both end with, no token cut."""
        length = 0
        while length < min(len(first), len(second)) and first[-length - 1] == second[-length - 1]:
            length += 1
        start = len(first) - length
        cut = next((f.end() for f in self.control.finditer(first) if f.start() < start < f.end()), start)
        return first[cut:]


def _split_answer_end(probe: StyleProbe, last: str, between: str, first: str) -> tuple[str, str]:
    """What ends an answer, and what begins a question; the latter ends what stands before the first question, too.

    `last` follows an answer that nothing follows, `between` stands between an answer and a question, `first` before a first question.
    """
    answer_after = probe.shared_start(last, between)
    user_before = between[len(answer_after) :]
    if user_before and first.endswith(user_before):
        return answer_after, user_before
    user_before = probe.shared_end(between, first)
    if not user_before:
        raise NoStyle("it begins the first question otherwise than the ones that follow")
    return between.removesuffix(user_before), user_before


def _read_system(probe: StyleProbe, bos: str, user_before: str, answer_after: str) -> tuple[System, str, str]:
    """How a system text is treated, and what stands around it."""
    found = probe.ask("SU")
    if isinstance(found, TemplateRefusal) or placeholder(0) not in found:
        return "none", "", ""
    before, after, _ = probe.pieces("SU")
    before = before.removeprefix(bos)
    if after.endswith(user_before):
        return "turn", before, after.removesuffix(user_before)
    order = PLACEHOLDER.findall(str(probe.ask("SUAU")))
    if order == ["0", "1", "2", "3"]:
        return "first question", before, after
    if order == ["1", "2", "0", "3"]:
        pieces = PLACEHOLDER.sub("\0", str(probe.ask("SUAU"))).split("\0")
        if pieces[2].removeprefix(answer_after) != before or pieces[3] != after:
            raise NoStyle("it writes the system text otherwise before a later question")
        return "last question", before, after
    raise NoStyle("it writes a system text neither as a turn nor before a question")


class _LaterSystem(NamedTuple):
    """What becomes of a system text in the middle."""

    around: tuple[str, str] | None
    is_at_top: bool = False
    lacks_begin: bool = False


def _read_later_system(
    probe: StyleProbe, bos: str, answer_after: str, user_before: str, *, first: tuple[str, str]
) -> _LaterSystem:
    """What becomes of it; as of the first one where the template takes none or writes it oddly."""
    found = probe.ask("UASU")
    if isinstance(found, TemplateRefusal):
        return _LaterSystem(first)
    order = PLACEHOLDER.findall(found)
    if "2" not in order:
        return _LaterSystem(None)
    pieces = PLACEHOLDER.sub("\0", found).split("\0")
    if order == ["2", "0", "1", "3"]:
        return _LaterSystem(first, is_at_top=True)
    if len(pieces) != 5 or not pieces[2].startswith(answer_after) or not pieces[3].endswith(user_before):
        return _LaterSystem(first)
    around = pieces[2].removeprefix(answer_after), pieces[3].removesuffix(user_before)
    return _LaterSystem(around, lacks_begin=pieces[0].removeprefix(bos) == user_before)


def _trimmed(probe: StyleProbe, system: System) -> tuple[str, ...]:
    """The roles whose texts lose white space around them."""
    asked = {"user": "U", "assistant": "UAU"} | ({} if system == "none" else {"system": "SU"})
    trims = []
    for role, roles in asked.items():
        place = roles.index(PARTS[role])
        text = str(probe.ask(roles, around=BLANKS, padded=PARTS[role]))
        if BLANKS + placeholder(place) + BLANKS not in text:
            trims.append(role)
    return tuple(trims)


def _said(roles: str) -> str:
    names = {sign: name for name, sign in PARTS.items()}
    return ", ".join(names[sign] for sign in roles)
