"""Stock templates of six families: the masks of both derivations agree on real rows, and are those that marks would give."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from luthier.floor.errors import DataError
from luthier.text.chat import as_messages
from luthier.text.render import Renderer
from luthier.text.row import Message, Row, ToolCall
from luthier.text.template import _write_message as write_message
from luthier.text.tokenizer import stop_ids
from tests.text.chat_material import SHARED, sample_rows, shared_rows, verdicts
from tests.text.chat_styles import CHATML, Style, make_tokenizer
from tests.text.template_styles import LAST_ONLY, MISTRAL, PHI, SIX, THINKING, marked

pytestmark = pytest.mark.slow

TOOLS = json.dumps(
    [
        {
            "type": "function",
            "function": {"name": "look", "description": "See", "parameters": {"type": "object"}},
        }
    ]
)
ARGUMENTS = '{"city": "\\"Os\\nlo\\"", "days": 3, "more": ["a", {"b": "\\u00e9"}], "none": null}'
CALLING = Row(
    "messages",
    "a:1",
    messages=(
        Message("system", "Be brief."),
        Message("user", "Weather?"),
        Message("assistant", "", tool_calls=(ToolCall("look", ARGUMENTS, "call_1"),)),
        Message("tool", '{"temp": -2}', tool_call_id="call_1"),
        Message("assistant", "It is cold."),
    ),
    tools=TOOLS,
)
WRITES_TOOLS = ("llama_3", "qwen", "mistral", "phi", "harmony")


def talk(*turns: str, weights: tuple[int, ...] = ()) -> Row:
    """A conversation that the user begins."""
    listed = [*weights, *[1] * len(turns)]
    messages = [Message(("user", "assistant")[at % 2], text, listed[at]) for at, text in enumerate(turns)]
    return Row("messages", "a:1", messages=tuple(messages))


def renderer_of(name: str) -> tuple[Style, PreTrainedTokenizerFast, Renderer]:
    tokenizer = make_tokenizer(SIX[name])
    renderer = Renderer(tokenizer, template="chat", train_on="last" if name in LAST_ONLY else "all")
    return SIX[name], tokenizer, renderer


@pytest.fixture(scope="module", params=SIX)
def styled(request: pytest.FixtureRequest) -> tuple[str, Style, PreTrainedTokenizerFast, Renderer]:
    return (request.param, *renderer_of(request.param))


def learnt(tokenizer: PreTrainedTokenizerFast, renderer: Renderer, row: Row) -> list[str]:
    """The stretches that carry loss, decoded."""
    rendered = renderer.render(row)
    stretches: list[list[int]] = []
    for place, (id, is_in) in enumerate(zip(rendered.ids, rendered.trained, strict=True)):
        if is_in and not rendered.trained[place - 1]:
            stretches.append([])
        if is_in:
            stretches[-1].append(id)
    return [tokenizer.decode(stretch) for stretch in stretches]


def by_marks(name: str, tokenizer: PreTrainedTokenizerFast, row: Row) -> tuple[list[int], list[int]]:
    """Ids and mask as Transformers makes them of the template with marks."""
    found: Any = tokenizer.apply_chat_template(
        [write_message(message) for message in as_messages(row)],
        tools=json.loads(row.tools) if row.tools else None,
        chat_template=marked(name),
        return_assistant_tokens_mask=True,
        return_dict=True,
    )
    return found["input_ids"], found["assistant_masks"]


def check_against_marks(name: str, tokenizer: PreTrainedTokenizerFast, renderer: Renderer, row: Row) -> None:
    row = replace(
        row, messages=tuple(replace(message, weight=1) for message in row.messages)
    )  # marks know none
    ids, mask = by_marks(name, tokenizer, row)
    rendered = renderer.render(row)
    assert rendered.ids == ids
    answers = sum(message.role == "assistant" for message in as_messages(row))
    if name not in LAST_ONLY or answers == 1:
        assert rendered.trained == [bool(each) for each in mask]


@pytest.mark.oracle
def test_masks_are_those_of_marks(styled: tuple[str, Style, PreTrainedTokenizerFast, Renderer]) -> None:
    name, _, tokenizer, renderer = styled
    rows = [talk("What is it?", " A word.\n\nhere"), talk("Q", "\nA", "R\n", "B  b"), talk("", "x", "y", "z")]
    rows += [row for row in sample_rows() if not row.tools and row.messages[0].role != "system"]
    rows += [CALLING] if name in WRITES_TOOLS else []
    for row in rows:
        check_against_marks(name, tokenizer, renderer, row)


@pytest.mark.slow
@pytest.mark.oracle
def test_masks_are_those_of_marks_on_shared_data(
    styled: tuple[str, Style, PreTrainedTokenizerFast, Renderer], tmp_path: Path
) -> None:
    if not SHARED.is_dir():
        pytest.skip(f"the shared data is not at {SHARED}")
    name, _, tokenizer, renderer = styled
    checked = 0
    for _, row in shared_rows(tmp_path, most_rows_a_file=12):
        if verdicts(renderer, [row])["rendered"]:
            check_against_marks(name, tokenizer, renderer, row)
            checked += 1
    assert checked > 150


@pytest.mark.slow
def test_no_mask_disagrees_on_shared_data(
    styled: tuple[str, Style, PreTrainedTokenizerFast, Renderer], tmp_path: Path
) -> None:
    """Thirty rows of every file here; all of them in bench/templates."""
    if not SHARED.is_dir():
        pytest.skip(f"the shared data is not at {SHARED}")
    _, _, _, renderer = styled
    found = verdicts(renderer, (row for _, row in shared_rows(tmp_path, most_rows_a_file=30)))
    assert found["rendered"] > 400
    assert not [said for said in found if said.startswith("data-mask")]


def test_tool_calls_are_learnt_and_what_tools_answer_is_not(
    styled: tuple[str, Style, PreTrainedTokenizerFast, Renderer],
) -> None:
    name, style, tokenizer, _ = styled
    renderer = Renderer(tokenizer, template="chat")
    if name not in WRITES_TOOLS:
        with pytest.raises(DataError) as caught:
            renderer.render(CALLING)
        assert caught.value.code == "data-template"
        return
    call, answer = learnt(tokenizer, renderer, CALLING)
    assert "look" in call and '3, "more": ["a", {"b": ' in call
    assert call.endswith("<|call|>" if name == "harmony" else style.end)
    assert "It is cold." in answer and "temp" not in call + answer


WORDS = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=12).filter(str.strip)
SHARED_RENDERERS = {name: renderer_of(name)[1:] for name in ("llama_3", "qwen", "gemma", "phi")}


@settings(max_examples=40, deadline=None)
@given(
    turns=st.lists(WORDS, min_size=2, max_size=6).filter(lambda turns: len(turns) % 2 == 0),
    weights=st.lists(st.integers(0, 1), min_size=6, max_size=6),
)
def test_weight_0_is_never_learnt_and_the_rest_gives_its_text_back(
    turns: list[str], weights: list[int]
) -> None:
    row = talk(*turns, weights=tuple(weights))
    said = [text.strip() for text, weight in zip(turns[1::2], weights[1::2], strict=False) if weight]
    for name, (tokenizer, renderer) in SHARED_RENDERERS.items():
        found = [text.removesuffix(SIX[name].end).strip() for text in learnt(tokenizer, renderer, row)]
        assert found == said


def test_every_learnt_turn_ends_with_a_token_that_stops_the_model(
    styled: tuple[str, Style, PreTrainedTokenizerFast, Renderer],
) -> None:
    name, _, tokenizer, renderer = styled
    rendered = renderer.render(talk("Q", "A", "R", "B"))
    ends = [
        id
        for id, is_in, goes_on in zip(
            rendered.ids, rendered.trained, [*rendered.trained[1:], False], strict=True
        )
        if is_in and not goes_on
    ]
    assert len(ends) == (1 if name in LAST_ONLY else 2)
    assert set(ends) <= set(stop_ids(tokenizer))


def test_padding_that_is_the_end_of_text_changes_no_mask() -> None:
    tokenizer = make_tokenizer(MISTRAL)
    plain = Renderer(tokenizer, template="chat").render(talk("Q", "A"))
    tokenizer.pad_token = tokenizer.eos_token
    padded = Renderer(tokenizer, template="chat").render(talk("Q", "A"))
    assert padded == plain
    assert padded.trained[-1]
    assert padded.ids[-1] == tokenizer.pad_token_id


def fault_of(style: Style, row: Row, **settings: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        Renderer(make_tokenizer(style), template="chat", **settings).render(row)
    return caught.value


class TestTemplatesThatDropOrDouble:
    def test_a_template_without_tools_is_refused_with_the_row(self) -> None:
        row = replace(talk("Q", "A"), tools=TOOLS)
        fault = fault_of(SIX["gemma"], row)
        assert (fault.code, fault.where) == ("data-template", "a:1")
        assert "leaves the row's tools out" in fault.what
        assert "--tools text" in fault.fix

    def test_a_template_that_writes_tools_only_sometimes_is_refused_where_it_does_not(self) -> None:
        assert "leaves the row's tools out" in fault_of(PHI, replace(talk("Q", "A"), tools=TOOLS)).what

    def test_a_template_that_writes_tools_and_no_calls_is_refused(self) -> None:
        deaf = replace(
            CHATML, template=CHATML.template + "{{ tools | tojson if tools and not add_generation_prompt }}"
        )
        assert "leaves tool calls out" in fault_of(deaf, CALLING).what

    def test_a_template_that_forgets_a_message_is_refused_with_its_number(self) -> None:
        deaf = replace(
            CHATML,
            template=CHATML.template.replace(
                "{% for message in messages %}", "{% for message in messages if message.role != 'system' %}"
            ),
        )
        fault = fault_of(
            deaf, Row("messages", "a:1", messages=(Message("system", "S"), *talk("Q", "A").messages))
        )
        assert (fault.code, fault.where) == ("data-template", "a:1")
        assert "leaves out the content of message 0 (system)" in fault.what

    def test_a_text_that_begins_twice_is_refused(self) -> None:
        double = replace(MISTRAL, template="{{ bos_token }}" + MISTRAL.template)
        assert "begins the text with two <s> tokens" in fault_of(double, talk("Q", "A")).what


class TestTemplatesThatInvent:
    def test_text_that_no_row_says_is_told(self) -> None:
        told = [
            Renderer(make_tokenizer(style), template="chat").notes()
            for style in (SIX["llama_3"], SIX["qwen"])
        ]
        assert told == [
            [
                "the chat template writes before a conversation what no row says: "
                "Knowledge ends in: December 2023 Today: 26 Jul 2024"
            ],
            ["the chat template writes before a conversation what no row says: You help people with care."],
        ]

    def test_headers_and_spaces_are_nothing_invented(self) -> None:
        for style in (SIX["gemma"], MISTRAL, PHI, CHATML):
            assert Renderer(make_tokenizer(style), template="chat").notes() == []

    def test_a_date_of_today_is_told(self) -> None:
        dated = replace(CHATML, template="{{ strftime_now('%d %B') }}" + CHATML.template)
        assert (
            "tokens prepared tomorrow can differ"
            in Renderer(make_tokenizer(dated), template="chat").notes()[0]
        )


class TestTemplatesThatThink:
    THOUGHT = "<think>\nhm\n</think>\n\nA"

    def test_the_thought_before_an_answer_is_learnt_with_it(self) -> None:
        tokenizer = make_tokenizer(THINKING)
        renderer = Renderer(tokenizer, template="chat")
        assert learnt(tokenizer, renderer, talk("Q", self.THOUGHT)) == [f"{self.THOUGHT}<|im_end|>"]
        assert learnt(tokenizer, renderer, talk("Q", "A")) == ["<think>\n\n</think>\n\nA<|im_end|>"]

    def test_earlier_thoughts_are_forgotten_so_only_the_last_answer_can_be_learnt(self) -> None:
        row = talk("Q", self.THOUGHT, "R", self.THOUGHT)
        fault = fault_of(THINKING, row)
        assert fault.code == "data-mask"
        assert "data.train_on=last" in fault.fix
        tokenizer = make_tokenizer(THINKING)
        renderer = Renderer(tokenizer, template="chat", train_on="last")
        assert learnt(tokenizer, renderer, row) == [f"{self.THOUGHT}<|im_end|>"]
        assert tokenizer.decode(renderer.render(row).ids).count("hm") == 1

    def test_a_template_that_cuts_the_thought_off_a_learnt_answer_is_refused(self) -> None:
        deaf = replace(
            CHATML,
            template=CHATML.template.replace(
                "message['content']", "message['content'].split('</think>')[-1]"
            ),
        )
        assert "leaves out the thinking of message 1" in fault_of(deaf, talk("Q", self.THOUGHT)).what
