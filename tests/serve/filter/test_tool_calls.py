"""What a model writes into the arguments of a call goes through the filter as its text does."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from luthier.config.serve import FilterConfig
from luthier.serve.engines.engine import Engine, Piece, Prepared
from luthier.serve.filter.hook import FilterHook
from luthier.serve.flow import Flow
from luthier.serve.reply import Delta
from tests.serve.asking import asked

WRITTEN = 'I will. <tool_call>{"name": "mail", "arguments": {"to": "jo.doe@mail.org"}}</tool_call>'


class Scripted:
    """An engine that says what it is told, letter by letter."""

    def __init__(self, text: str) -> None:
        self._text = text

    async def answer(self, prepared: Prepared, *, most_new_tokens: int) -> AsyncIterator[Piece]:
        for letter in self._text:
            yield Piece(0, letter, tokens=1)
        yield Piece(0, finish="stop")


def answer(output: str, text: str = WRITTEN) -> list[Delta]:
    hook = FilterHook(FilterConfig.model_validate({"personal": ["email"], "output": output}))
    flow = Flow(asked(), [hook], "tag")

    async def run() -> list[Delta]:
        pieces = flow.run(cast(Engine, Scripted(text)), cast(Any, None), 100)
        return [delta async for delta in pieces]

    return asyncio.run(run())


@pytest.mark.parametrize("output", ["off", "mask", "withhold"])
def test_the_arguments_of_a_call_are_let_through_masked_or_withheld(output: str) -> None:
    deltas = answer(output)
    assert "".join(delta.text for delta in deltas).strip() == "I will."
    arguments = [call["function"]["arguments"] for delta in deltas for call in delta.tool_calls]
    said = {"off": ['{"to": "jo.doe@mail.org"}'], "mask": ['{"to": "[EMAIL]"}'], "withhold": []}
    assert arguments == said[output]
    assert deltas[-1].finish == ("content_filter" if output == "withhold" else "tool_calls")


def test_a_call_without_a_find_is_as_it_was() -> None:
    deltas = answer("withhold", WRITTEN.replace("jo.doe@mail.org", "Jo"))
    assert [call["function"]["arguments"] for call in deltas[-1].tool_calls] == ['{"to": "Jo"}']
    assert deltas[-1].finish == "tool_calls"
