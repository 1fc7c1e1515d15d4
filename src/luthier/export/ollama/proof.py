"""Prove a translated template: the same text as the run's own for every conversation, and the same ids in llama.cpp from the file.

The text is compared sign by sign; the ids are those that llama.cpp makes of the prompt as Ollama hands it over, BOS included,
against those from which the run itself starts an answer.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from luthier.export.ollama.conversations import (
    OWN,
    Asked,
    fitting,
    own_conversations,
    tool_conversations,
    without_blanks,
)
from luthier.export.ollama.dialect import Dialect, Form, refusal
from luthier.export.ollama.go_parse import GoTemplateError, Node, parse
from luthier.export.ollama.messages import render
from luthier.export.ollama.tool_style import TOOLS
from luthier.floor.errors import GateError
from luthier.floor.stop import StopFlag
from luthier.llamacpp import process
from luthier.llamacpp.tasks import Measure
from luthier.text.encode import control_pattern, encode_ids
from luthier.text.render import Renderer
from luthier.text.row import Message, Row
from luthier.text.template import TemplateRefusal

AROUND = 40


@dataclass(frozen=True)
class Proof:
    """What was compared."""

    conversations: int
    """Of Luthier's own."""
    prompts: int
    """Of the user's rows."""
    rows: int
    same_ids: int
    """Prompts and conversations of which llama.cpp makes the run's ids."""
    left_out: dict[str, int]
    """Prompts that were not compared, by the reason."""
    with_blanks: int
    """Prompts whose texts have white space around them that the run takes off and Ollama does not."""
    other_tools: str = ""
    """Of the first prompt with tools that Ollama cannot hand on as the run writes them: where it is, and what differs."""
    has_later_system: bool = True
    """Whether a system text between other messages comes out the same as well."""
    answer_end: str = ""
    """The text that ends an answer, where it is no token."""

    def with_ids(self, same_ids: int, *, answer_end: str) -> "Proof":
        """The same with the ids compared."""
        return replace(self, same_ids=same_ids, answer_end=answer_end)


def prove_texts(dialect: Dialect, rows: Sequence[Row]) -> tuple[list[tuple[Asked, str]], Proof]:
    """Compare the texts; what Ollama writes of each conversation comes back.

    Prompts with tools that come out otherwise are left out and counted: Ollama sorts the fields of tools and arguments, and drops those
    it has no type for. Raises GateError gate-template at any other difference.
    """
    left_out: Counter[str] = Counter()
    given = list(fitting(rows, left_out))
    own = list(own_conversations(with_system=dialect.has_system, with_history=dialect.has_history))
    if not dialect.tools:
        own += tool_conversations(TOOLS, with_system=dialect.has_system)
    stripped = [without_blanks(each, dialect.trims) for each in (*own, *given)]
    nodes, other_tools, has_later_system = parse(dialect.go), "", True
    written: list[tuple[Asked, str]] = []
    for each, wanted in zip(stripped, dialect.wanted(stripped), strict=True):
        if isinstance(wanted, TemplateRefusal):
            continue
        if each.has_tools and dialect.tools:
            left_out["tools"] += 1
            continue
        found = _rendered(nodes, each)
        if found == wanted:
            written.append((each, found))
        elif each.is_rare:
            has_later_system = False
        elif each.has_tools:
            left_out["other_tools"] += 1
            other_tools = other_tools or _shown_difference(each, wanted, found)
        else:
            raise _difference(each, wanted, found)
    of_rows = [each for each, _ in written if each.origin != OWN]
    proof = Proof(
        conversations=len(written) - len(of_rows),
        prompts=len(of_rows),
        rows=len({each.origin for each in of_rows}),
        same_ids=0,
        left_out=dict(left_out),
        with_blanks=sum(without_blanks(each, dialect.trims) != each for each in given),
        other_tools=other_tools,
        has_later_system=has_later_system,
    )
    return written, proof


def _rendered(nodes: Sequence[Node], asked: Asked) -> str:
    try:
        return render(nodes, asked.messages, asked.tools)
    except GoTemplateError as fault:
        raise refusal(f"the template for Ollama fails: {fault}", where=asked.origin) from fault


def _shown_difference(asked: Asked, wanted: str, found: str) -> str:
    place = _first_difference(wanted, found)
    start = max(0, place - AROUND)
    return (
        f"{asked.origin}, character {place}: the run writes {wanted[start : place + AROUND]!r}, "
        f"Ollama {found[start : place + AROUND]!r}"
    )


def _difference(asked: Asked, wanted: str, found: str) -> GateError:
    place = _first_difference(wanted, found)
    start = max(0, place - AROUND)
    roles = ", ".join(message.role for message in asked.messages)
    return refusal(
        f"Ollama would write a conversation otherwise than the run, from character {place} on; no Modelfile was written",
        where=f"{asked.origin} ({roles})",
        problems=[
            f"the run  ...{wanted[start : place + AROUND]!r}",
            f"Ollama   ...{found[start : place + AROUND]!r}",
        ],
    )


def prove_ids(
    written: Sequence[tuple[Asked, str]],
    renderer: Renderer,
    tokenizer: PreTrainedTokenizerBase,
    form: Form,
    *,
    file: Path,
    library: Path,
    work: Path,
    stop: StopFlag | None,
) -> int:
    """How many prompts were compared: llama.cpp's ids of what Ollama writes are those from which the run starts an answer.

    Left out are prompts that the run encodes in pieces: tags with a history, and texts that spell a control token outside of a chat
    template. Raises GateError gate-template at the first that differs.
    """
    control = control_pattern(tokenizer)
    chosen = [
        (asked, text)
        for asked, text in written
        if form == "chat" or (len(asked.messages) == 1 and not control.search(asked.messages[0].content))
    ]
    texts = tuple(text for _, text in chosen)
    task = Measure(library=str(library), model=str(file), texts=texts, begin=True)
    measured = process.measure(task, work=work, stop=stop)
    ours = _own_ids(renderer, tokenizer, [asked for asked, _ in chosen], form)
    for (asked, text), wanted, found in zip(chosen, ours, measured.ids, strict=True):
        if tuple(wanted) != found:
            raise _other_id(asked, text, wanted, found, tokenizer)
    return len(chosen)


def _own_ids(
    renderer: Renderer, tokenizer: PreTrainedTokenizerBase, asked: Sequence[Asked], form: Form
) -> list[list[int]]:
    """The ids from which the run starts an answer to each conversation."""
    if form == "text":
        begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        return [begin + ids for ids in encode_ids(tokenizer, [each.messages[-1].content for each in asked])]
    if form == "guide":
        rows = [Row("prompt_completion", each.origin, prompt=each.messages[-1].content) for each in asked]
    else:  # an empty answer stands for the one that is wanted
        rows = [
            Row(
                "messages", each.origin, messages=(*each.messages, Message("assistant", "")), tools=each.tools
            )
            for each in asked
        ]
    return renderer.render_prompts(rows)


def _other_id(
    asked: Asked, text: str, ours: Sequence[int], theirs: Sequence[int], tokenizer: PreTrainedTokenizerBase
) -> GateError:
    place = _first_difference(ours, theirs)
    named = [
        (tokenizer.convert_ids_to_tokens(list(ids[place : place + 1])) or ["the end"])[0]
        for ids in (ours, theirs)
    ]
    return refusal(
        f"token {place} is {named[1]!r} in llama.cpp and {named[0]!r} in the run; no Modelfile was written",
        where=f"{asked.origin}: {text[:AROUND]!r}",
    )


def _first_difference(first: Sequence[Any], second: Sequence[Any]) -> int:
    pairs = enumerate(zip(first, second, strict=False))
    return next((at for at, (left, right) in pairs if left != right), min(len(first), len(second)))
