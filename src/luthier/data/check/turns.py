"""Judge the order of a conversation: who speaks when, whether anything is answered, and what weights say."""

from collections.abc import Iterator

from luthier.data.check.kinds import Fault
from luthier.data.check.places import spell
from luthier.data.check.shapes import is_number_zero_or_one
from luthier.data.check.view import View
from luthier.text.problems import describe

SYSTEM = ("system", "developer")
ANSWERS_OF_TOOLS = ("tool", "function")


def check_turns(view: View) -> Iterator[Fault]:
    """What is wrong with the turns as a whole."""
    if view.shape not in ("messages", "sharegpt"):
        return
    yield from _weights(view)
    roles = [turn.role for turn in view.turns]
    if not roles:
        if not view.faults:
            yield Fault("no-answer", "the conversation has no turn")
        return
    answers = [number for number, role in enumerate(roles) if role == "assistant"]
    if not answers:
        if "" not in roles:  # a role that is none may be the assistant's; it is told already
            yield Fault("no-answer", f"no turn is the assistant's: {', '.join(roles[:6])}")
        return
    said = (text.text.strip() for turn in view.turns for text in turn.texts if turn.role == "assistant")
    if view.is_whole and not any(said) and not any(turn.calls for turn in view.turns):
        yield Fault("empty-answer", "every turn of the assistant is empty")
    if "user" not in roles and "" not in roles:
        yield Fault("no-user-turn", f"no turn is the user's: {', '.join(roles[:6])}")
    if answers[-1] != len(roles) - 1:
        count = len(roles) - 1 - answers[-1]
        yield Fault("last-not-assistant", f"{count} {'turns stand' if count > 1 else 'turn stands'} behind the last answer: {', '.join(roles[answers[-1] + 1 :][:6])}")  # fmt: skip
    yield from _order(view, roles)


def _order(view: View, roles: list[str]) -> Iterator[Fault]:
    """The first turn that comes out of order, and how many do."""
    wrong: list[str] = []
    before = ""
    for number, role in enumerate(roles):
        place = spell(view.turns[number].path)
        if role in SYSTEM and before not in ("", *SYSTEM):
            wrong.append(f"{place} is the {role}'s, and others spoke before")
        elif role == "assistant" and number and before in SYSTEM and "user" in roles:
            wrong.append(f"{place} answers before the user asked")
        elif role == "assistant" and not number and "user" in roles:
            wrong.append(f"{place}, the first turn, is the assistant's")
        elif role == before == "user" or (role == before == "assistant" and not view.turns[number - 1].calls):
            wrong.append(f"{place} is the {role}'s, as the turn before it")
        elif role in ANSWERS_OF_TOOLS and before not in ("assistant", *ANSWERS_OF_TOOLS):
            wrong.append(f"{place} is a tool's, and no call stands before it")
        before = role
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        yield Fault("role-order", f"{wrong[0]}{more}")


def _weights(view: View) -> Iterator[Fault]:
    answers = trained = 0
    for turn in view.turns:
        weight = turn.message.get("weight")
        place = spell((*turn.path, "weight"))
        if turn.role == "assistant":
            answers += 1
            trained += turn.is_trained
        if weight is None:
            continue
        if not is_number_zero_or_one(weight):
            yield Fault("weight", f"{place} is {describe(weight)}, neither 0 nor 1")
        elif turn.role != "assistant" and view.shape == "messages":
            yield Fault(
                "weight",
                f"{place} stands on a turn of the {turn.role or 'unknown role'}; only answers have one",
            )
    if answers and not trained:
        yield Fault("nothing-trained", f"the weight of every answer is 0, of {answers}")
    elif (
        answers
        and view.shape == "messages"
        and view.turns[-1].role == "assistant"
        and not view.turns[-1].is_trained
    ):
        yield Fault(
            "role-order",
            "the last answer has weight 0: what comes last is not learnt",
            "give it weight 1, or end before it",
        )
