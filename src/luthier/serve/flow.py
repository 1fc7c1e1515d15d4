"""The way of an answer's pieces from the engine to the client: through filters, past calls of tools, counted."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from luthier.serve.engines.engine import Engine, Piece, Prepared, ToolForm
from luthier.serve.hooks import Asked, Hook, OutputGate, Withheld
from luthier.serve.reply import Delta, WholeChoice
from luthier.serve.tools import CallFinder


@dataclass
class Choice:
    """One choice on its way."""

    make_gates: Callable[[], list[OutputGate]]
    """Fresh ones, for a text of its own: the answer's, the arguments of a call."""
    calls: CallFinder | None
    gates: list[OutputGate] = field(init=False)
    whole: WholeChoice = field(default_factory=WholeChoice)
    is_over: bool = False

    def __post_init__(self) -> None:
        self.gates = self.make_gates()


class Flow:
    """One request's answer; afterwards it knows what went out."""

    def __init__(self, asked: Asked, hooks: Sequence[Hook], tool_form: ToolForm | None) -> None:
        self.completion_tokens = 0
        self.choices = [
            Choice(
                make_gates=partial(_gates, hooks, asked, number),
                calls=CallFinder(tool_form) if tool_form else None,
            )
            for number in range(asked.choices)
        ]

    @property
    def is_filtered(self) -> bool:
        """Whether text is held back until it is cleared."""
        return any(choice.gates for choice in self.choices)

    async def run(self, engine: Engine, prepared: Prepared, most_new_tokens: int) -> AsyncIterator[Delta]:
        """What goes out, piece by piece; ends early where every choice was withheld."""
        async with aclosing(engine.answer(prepared, most_new_tokens=most_new_tokens)) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                self.completion_tokens += piece.tokens
                choice = self.choices[piece.choice]
                if choice.is_over:
                    continue
                delta = await _pass(choice, piece)
                if delta is not None:
                    choice.whole.add(delta)
                    yield delta
                if all(each.is_over for each in self.choices):
                    return


async def _pass(choice: Choice, piece: Piece) -> Delta | None:
    """A piece through everything that the choice has on its way; None if nothing of it goes out yet."""
    text, calls = piece.text, list(piece.tool_calls)
    finish: str | None = piece.finish
    if choice.calls is not None:
        text = choice.calls.feed(text)
        if finish is not None:
            rest, found = choice.calls.finish()
            text, calls = text + rest, calls + found
    try:
        for place in range(len(choice.gates)):
            text = await _through(choice.gates[place], text, is_last=finish is not None)
    except Withheld as withheld:
        choice.is_over = True
        return Delta(piece.choice, withheld.released, finish="content_filter")
    try:
        calls = [await _cleared(call, choice.make_gates()) for call in calls]
    except Withheld:
        # What was cleared of the arguments is no text.
        choice.is_over = True
        return Delta(piece.choice, text, finish="content_filter")
    if finish == "stop" and calls:
        finish = "tool_calls"
    choice.is_over = finish is not None
    if not (text or piece.facts or calls or finish):
        return None
    return Delta(piece.choice, text, piece.facts, tuple(calls), finish)


async def _cleared(call: dict[str, Any], gates: Sequence[OutputGate]) -> dict[str, Any]:
    """A call whose arguments went through gates of their own: they are what the model wrote as much as the text is."""
    arguments = call["function"]["arguments"]
    for gate in gates:
        arguments = await _through(gate, arguments, is_last=True)
    return {**call, "function": {**call["function"], "arguments": arguments}}


def _gates(hooks: Sequence[Hook], asked: Asked, number: int) -> list[OutputGate]:
    return [gate for hook in hooks if (gate := hook.gate(asked, number)) is not None]


async def _through(gate: OutputGate, text: str, *, is_last: bool) -> str:
    passed = await gate.feed(text) if text else ""
    return passed + await gate.finish() if is_last else passed
