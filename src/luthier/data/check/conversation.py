"""Read the turns of a conversation, whoever wrote it, and say what is wrong with each message by itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from luthier.data.check.kinds import Fault
from luthier.data.check.places import Path, Text, spell
from luthier.floor.lookup import nearest
from luthier.text import shapes
from luthier.text.dialects.openai_chat import TEXT_PARTS
from luthier.text.dialects.sharegpt import SPEAKERS, TEXTS
from luthier.text.dialects.turns import CALL_ROLE, ROLE_OF
from luthier.text.problems import describe

# The roles of OpenAI's form; `function` is a tool's, as it was called before.
ROLES = (*shapes.ROLES, "function")


@dataclass(slots=True)
class Turn:
    """One message. `role` is one of ROLES or nothing where it is none of them."""

    path: Path
    role: str
    message: Mapping[str, Any]
    texts: list[Text] = field(default_factory=list)
    calls: bool = False
    """Whether it calls a tool or a function."""

    @property
    def said(self) -> str:
        """What the turn says, its calls included: two turns that say the same are the same."""
        said = [text.text for text in self.texts]
        if self.calls:
            said += [
                str(self.message[name]) for name in ("tool_calls", "function_call") if name in self.message
            ]
        return "\n".join(said)

    @property
    def marks(self) -> str:
        """What decides about the turn beside its words, where there is any of it."""
        names = ("weight", "tool_call_id", "name")
        found = [f"{name}={self.message[name]}" for name in names if self.message.get(name) is not None]
        return " ".join(found)

    @property
    def is_trained(self) -> bool:
        """Whether it carries loss, if it is an assistant's."""
        return self.message.get("weight") != 0 or self.message.get("weight") is None


def read_turns(path: Path, messages: Sequence[Any], faults: list[Fault], *, is_strict: bool) -> list[Turn]:
    """The turns that can be read. With `is_strict` roles are those of OpenAI's form, else those of every dialect."""
    turns = []
    for number, message in enumerate(messages):
        place = (*path, number)
        if not isinstance(message, Mapping):
            what = f"{spell(place)} is {describe(message)}, not an object with role and content"
            faults.append(Fault("wrong-type", what, "write an object with role and content"))
            continue
        turn = Turn(place, _role(message, place, faults, is_strict=is_strict), message)
        turn.calls = bool(message.get("tool_calls") or message.get("function_call"))
        if _speaker(message) == CALL_ROLE:
            turn.calls = True
        _read_content(turn, faults, is_strict=is_strict)
        turns.append(turn)
    return turns


def _speaker(message: Mapping[str, Any]) -> str:
    """The role as the dialects name it, in ours."""
    said = next((message[name] for name in SPEAKERS if name in message), None)
    return ROLE_OF.get(said.lower(), "") if isinstance(said, str) else ""


def _role(message: Mapping[str, Any], place: Path, faults: list[Fault], *, is_strict: bool) -> str:
    names = ("role",) if is_strict else SPEAKERS
    name = next((name for name in names if name in message), None)
    if name is None:
        what = f"{spell(place)} lacks 'role'; it has: {', '.join(map(str, list(message)[:8])) or 'nothing'}"
        faults.append(Fault("missing-field", what, "say who speaks"))
        return ""
    role = message[name]
    if is_strict and role in ROLES:
        return str(role)
    known = _speaker(message)
    if not is_strict and known:
        return "assistant" if known == CALL_ROLE else known
    kind = "unknown-role" if isinstance(role, str) else "wrong-type"
    meant = known if known in ROLES else (nearest(role, ROLES) or [""])[0] if isinstance(role, str) else ""
    what = f"{spell((*place, name))} is {describe(role)}, not one of {', '.join(ROLES[:5])}"
    faults.append(Fault(kind, what, f"write {meant!r}, if that is meant" if meant else ""))
    return meant


def _read_content(turn: Turn, faults: list[Fault], *, is_strict: bool) -> None:
    name = next((name for name in (("content",) if is_strict else TEXTS) if name in turn.message), None)
    content = turn.message[name] if name else None
    place = (*turn.path, name or "content")
    if isinstance(content, str):
        turn.texts = [Text(place, content)]
        if not content.strip() and not turn.calls and turn.role not in ("tool", "function"):
            faults.append(Fault("empty-turn", f"{spell(place)} of the {turn.role or 'turn'} is empty"))
    elif isinstance(content, list) and is_strict:
        _read_parts(turn, place, content, faults)
    elif content is None and (turn.calls or isinstance(turn.message.get("refusal"), str)):
        if isinstance(turn.message.get("refusal"), str):
            turn.texts = [Text((*turn.path, "refusal"), turn.message["refusal"])]
    elif name is None:
        has = ", ".join(map(str, list(turn.message)[:8]))
        faults.append(
            Fault("missing-field", f"{spell(turn.path)} lacks 'content'; it has: {has}", "write what is said")
        )
    else:
        faults.append(Fault("wrong-type", f"{spell(place)} is {describe(content)}, not text"))


def _read_parts(turn: Turn, place: Path, parts: Sequence[Any], faults: list[Fault]) -> None:
    for number, part in enumerate(parts):
        at = (*place, number)
        kind = part.get("type") if isinstance(part, Mapping) else None
        key = "refusal" if kind == "refusal" else "text"
        if kind in TEXT_PARTS and isinstance(part.get(key), str):
            turn.texts.append(Text((*at, key), part[key]))
        elif isinstance(kind, str) and kind not in TEXT_PARTS:
            faults.append(
                Fault("unread-part", f"{spell(at)} is of type {describe(kind)}, and only text is learnt")
            )
        else:
            what = f"{spell(at)} is {describe(part)}, not an object with type and text"
            faults.append(Fault("wrong-type", what, 'write {"type": "text", "text": "..."}'))
