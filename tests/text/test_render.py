"""Rows become the guide's layout exactly, and the mask covers what the model has to write."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from luthier.floor.errors import RecipeError
from luthier.text.render import Renderer, choose_template, stop_ids
from luthier.text.rows import Row
from tests.tiny import END_OF_TEXT, TURN_END, TURN_START, make_tiny_tokenizer

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


def pair(prompt: str, completion: str) -> Row:
    return Row("prompt_completion", "a.jsonl:1", prompt=prompt, completion=completion)


def text(content: str) -> Row:
    return Row("text", "a.jsonl:1", text=content)


@pytest.fixture(scope="module")
def plain() -> PreTrainedTokenizerFast:
    """A tokenizer without BOS, as Qwen2 has it."""
    return make_tiny_tokenizer()


@pytest.fixture(scope="module")
def with_bos() -> PreTrainedTokenizerFast:
    return make_tiny_tokenizer(bos=TURN_START)


def ids(tokenizer: PreTrainedTokenizerFast, content: str) -> list[int]:
    found: list[int] = tokenizer(content, add_special_tokens=False)["input_ids"]
    return found


@settings(max_examples=50, deadline=None)
@given(prompt=TEXT, completion=TEXT)
def test_a_pair_is_bos_prompt_newline_completion_eos(
    with_bos: PreTrainedTokenizerFast, prompt: str, completion: str
) -> None:
    rendered = Renderer(with_bos, template="guide").render(pair(prompt, completion))
    head = [with_bos.bos_token_id, *ids(with_bos, prompt + "\n")]
    tail = [*ids(with_bos, completion), with_bos.eos_token_id]
    assert rendered.ids == head + tail
    assert rendered.trained == [False] * len(head) + [True] * len(tail)


def test_a_tokenizer_without_bos_gets_none(plain: PreTrainedTokenizerFast) -> None:
    rendered = Renderer(plain, template="guide").render(pair("What?", "That."))
    assert rendered.ids == [*ids(plain, "What?\n"), *ids(plain, "That."), plain.eos_token_id]


def test_generation_starts_from_the_prompt_of_training(with_bos: PreTrainedTokenizerFast) -> None:
    renderer = Renderer(with_bos, template="guide")
    rendered = renderer.render(pair("What?", "That."))
    prompt = renderer.render_prompt(pair("What?", "That."))
    assert rendered.ids[: len(prompt)] == prompt
    assert rendered.trained.index(True) == len(prompt)
    assert renderer.expected(pair("What?", "That.")) == "That."


@settings(max_examples=30, deadline=None)
@given(content=TEXT)
def test_all_of_a_text_but_its_first_token_carries_loss(
    plain: PreTrainedTokenizerFast, with_bos: PreTrainedTokenizerFast, content: str
) -> None:
    for tokenizer in (plain, with_bos):
        rendered = Renderer(tokenizer, template="guide").render(text(content))
        bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        assert rendered.ids == [*bos, *ids(tokenizer, content), tokenizer.eos_token_id]
        assert rendered.trained == [False] + [True] * (len(rendered.ids) - 1)


def test_a_text_that_spells_a_control_token_stays_text(plain: PreTrainedTokenizerFast) -> None:
    renderer = Renderer(plain, template="guide")
    rows = [text(f"a{TURN_END}b"), text("ab")]
    block = renderer.render_block(rows)
    assert block.has_control_text_N.tolist() == [True, False]
    first = block.ids_T[: block.lengths_N[0]].tolist()
    assert plain.convert_tokens_to_ids(TURN_END) not in first
    assert plain.decode(first[:-1]) == f"a{TURN_END}b"
    # The tokenizer is left as it was for other callers.
    assert plain.convert_tokens_to_ids(TURN_END) in ids(plain, f"a{TURN_END}b")


@settings(max_examples=30, deadline=None)
@given(rows=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=6), is_text=st.booleans())
def test_a_block_gives_what_its_rows_give_one_by_one(
    with_bos: PreTrainedTokenizerFast, rows: list[tuple[str, str]], is_text: bool
) -> None:
    renderer = Renderer(with_bos, template="guide")
    made = [text(p) if is_text else pair(p, c) for p, c in rows]
    block = renderer.render_block(made)
    ends = np.cumsum(block.lengths_N)
    for row, start, end in zip(made, ends - block.lengths_N, ends, strict=True):
        one = renderer.render(row)
        assert one.ids == block.ids_T[start:end].tolist()
        assert one.trained == block.trained_T[start:end].tolist()


def test_no_rows_make_an_empty_block(plain: PreTrainedTokenizerFast) -> None:
    block = Renderer(plain, template="guide").render_block([])
    assert len(block.ids_T) == len(block.trained_T) == len(block.lengths_N) == 0


def test_truncation_left_by_another_caller_cuts_nothing(plain: PreTrainedTokenizerFast) -> None:
    plain.backend_tokenizer.enable_truncation(2)
    plain.backend_tokenizer.enable_padding(length=50)
    rendered = Renderer(plain, template="guide").render(pair("What is it?", "It is a word."))
    assert rendered.ids == [*ids(plain, "What is it?\n"), *ids(plain, "It is a word."), plain.eos_token_id]


def test_a_text_rows_opening_and_rest_make_the_text(plain: PreTrainedTokenizerFast) -> None:
    renderer = Renderer(plain, template="guide")
    row = text("The river runs past the mill and on to the sea.")
    opening = plain.decode(renderer.render_prompt(row))
    assert opening == "The river runs past"
    assert opening + renderer.expected(row) == row.text
    assert renderer.expected(text("ab")) == "b"


def test_answers_end_at_the_end_of_text_or_of_a_turn(plain: PreTrainedTokenizerFast) -> None:
    assert stop_ids(plain) == (plain.eos_token_id, plain.convert_tokens_to_ids(TURN_END))
    assert Renderer(plain, template="guide").stop_ids == stop_ids(plain)
    chat = make_tiny_tokenizer(eos=TURN_END)
    assert stop_ids(chat) == (chat.convert_tokens_to_ids(TURN_END), chat.convert_tokens_to_ids(END_OF_TEXT))


@pytest.mark.parametrize(
    ("setting", "kind", "template"),
    [
        ("auto", "prompt_completion", "guide"),
        ("auto", "text", "guide"),
        ("auto", "messages", "chat"),
        ("chat", "prompt_completion", "chat"),
        ("guide", "prompt_completion", "guide"),
        ("guide", "text", "guide"),
        ("chat", "messages", "chat"),
    ],
)
def test_the_template_follows_the_rows_unless_set(setting: str, kind: str, template: str) -> None:
    assert choose_template(setting, kind) == template  # type: ignore[arg-type]


@pytest.mark.parametrize(("setting", "kind"), [("guide", "messages"), ("chat", "text")])
def test_a_template_that_cannot_write_the_rows_is_refused(setting: str, kind: str) -> None:
    with pytest.raises(RecipeError) as caught:
        choose_template(setting, kind)  # type: ignore[arg-type]
    assert caught.value.code == "cfg-conflict"
    assert kind in caught.value.what
