"""Read preference pairs: what was asked, and of two answers the better and the worse.

As text, as lists of messages, as conversations that begin alike, and in the form of OpenAI's preference fine-tuning. A single
answer that is labelled good or bad is one as well: taken for a pair of prompt and completion, the bad ones would be learnt.
"""

from collections.abc import Mapping
from typing import Any

from luthier.text.dialects.openai_chat import read_messages
from luthier.text.dialects.tools import read_tools
from luthier.text.dialects.turns import AS_IT_STANDS, need_object
from luthier.text.problems import LineFault, describe
from luthier.text.row import Message, Row

PAIR = ("chosen", "rejected")
OPENAI = ("input", "preferred_output", "non_preferred_output")
LABELLED = ("prompt", "completion", "label")
FIELDS = (*LABELLED, *PAIR, *OPENAI, "tools")


def is_preference(record: Mapping[str, Any]) -> bool:
    """Whether a record says which answer is better, or whether its answer is good."""
    if all(name in record for name in PAIR) or all(name in record for name in OPENAI[1:]):
        return True
    return all(name in record for name in LABELLED) and isinstance(record["label"], bool)


def missing(record: Mapping[str, Any]) -> list[str]:
    """What an object lacks to be a preference pair."""
    if is_preference(record):
        return ["input"] if OPENAI[1] in record and OPENAI[0] not in record else []
    wanted = OPENAI if OPENAI[1] in record or OPENAI[2] in record else PAIR
    return [name for name in wanted if name not in record]


def read(record: Mapping[str, Any], origin: str) -> Row:
    """The pair; of a labelled answer the other side is empty. Raises LineFault naming the field that cannot be read."""
    if OPENAI[1] in record:
        given = need_object(record[OPENAI[0]], OPENAI[0])
        asked = _messages(given.get("messages"), "input.messages", "user")
        chosen, rejected = (_messages(record[name], name, "assistant") for name in OPENAI[1:])
        return Row(
            "preference", origin, messages=asked, tools=read_tools(given), chosen=chosen, rejected=rejected
        )
    tools = read_tools(record)
    asked = _messages(record["prompt"], "prompt", "user") if record.get("prompt") else ()
    if PAIR[0] not in record:
        answer = _messages(record["completion"], "completion", "assistant")
        chosen, rejected = (answer, ()) if record["label"] else ((), answer)
        return Row("preference", origin, messages=asked, tools=tools, chosen=chosen, rejected=rejected)
    chosen, rejected = (_messages(record[name], name, "assistant") for name in PAIR)
    if not asked:
        shared = _shared(chosen, rejected)
        asked, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
    if not asked and record.get("prompt") is None:
        what = "lacks 'prompt', and the two answers do not begin with the same question"
        raise LineFault("data-field", f"{what}; it has: {', '.join(map(str, record))[:200]}")
    return Row("preference", origin, messages=asked, tools=tools, chosen=chosen, rejected=rejected)


def _messages(value: Any, place: str, role: str) -> tuple[Message, ...]:
    """A list of messages, one message, or the text of one."""
    if isinstance(value, str):
        return (Message(role, value),)
    listed = [value] if isinstance(value, dict) else value
    if not isinstance(listed, list):
        raise LineFault("data-field", f"{place} is {describe(value)}, neither text nor a list of messages")
    reading = read_messages(listed, place, AS_IT_STANDS)
    return tuple(turn.as_message() for turn in reading.threads[0])


def _shared(chosen: tuple[Message, ...], rejected: tuple[Message, ...]) -> int:
    """How many first messages two conversations have in common, their last ones apart."""
    count = 0
    for left, right in zip(chosen[:-1], rejected[:-1], strict=False):
        if left != right:
            break
        count += 1
    return count
