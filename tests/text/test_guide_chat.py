"""The guide's own form of a conversation: its text to the letter, loss on answers alone, and rows it cannot say refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.floor.errors import DataError, RecipeError
from luthier.text.render import Renderer, choose_template
from luthier.text.row import Message, Row, ToolCall
from tests.text.chat_styles import CHATML, LLAMA_3, make_tokenizer

TOKENIZER = make_tokenizer(LLAMA_3)
RENDERER = Renderer(TOKENIZER, template="guide_chat")
WORDS = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=12)


def by_the_guide(examples: dict[str, list[str]]) -> dict[str, list[str]]:
    """The guide's format_conversation, for its form; the names of the columns are its own."""
    return {
        "text": [
            f"<user>{q}</user><assistant>{a}</assistant>" for q, a in zip(*examples.values(), strict=True)
        ]
    }


def talk(*turns: str, weights: dict[int, int] | None = None) -> Row:
    roles = ("user", "assistant")
    return Row(
        "messages",
        "a:1",
        messages=tuple(
            Message(roles[at % 2], text, (weights or {}).get(at, 1)) for at, text in enumerate(turns)
        ),
    )


def learnt(row: Row, renderer: Renderer = RENDERER) -> str:
    rendered = renderer.render(row)
    return TOKENIZER.decode([id for id, is_in in zip(rendered.ids, rendered.trained, strict=True) if is_in])


@settings(max_examples=80, deadline=None)
@given(question=WORDS, answer=WORDS)
def test_a_pair_is_the_guides_text_and_its_answer_is_learnt(question: str, answer: str) -> None:
    text = by_the_guide({"question": [question], "answer": [answer]})["text"][0]
    for row in (talk(question, answer), Row("prompt_completion", "a:1", question, answer)):
        rendered = RENDERER.render(row)
        assert TOKENIZER.decode(rendered.ids) == f"<|begin_of_text|>{text}<|end_of_text|>"
        assert learnt(row) == f"{answer}</assistant><|end_of_text|>"
        start = rendered.trained.index(True)
        assert RENDERER.render_prompt(row) == rendered.ids[:start]
        assert RENDERER.expected(row) == answer


@settings(max_examples=60, deadline=None)
@given(
    turns=st.lists(WORDS, min_size=1, max_size=6), weights=st.lists(st.integers(0, 1), min_size=6, max_size=6)
)
def test_rendered_conversations_give_their_turns_back_and_weight_0_is_never_learnt(
    turns: list[str], weights: list[int]
) -> None:
    row = talk(*turns, weights=dict(enumerate(weights)))
    answered = turns if len(turns) == 1 else turns[: len(turns) // 2 * 2]
    text = (
        TOKENIZER.decode(RENDERER.render(row).ids)
        .removeprefix("<|begin_of_text|>")
        .removesuffix("<|end_of_text|>")
    )
    said = text.replace("</user>", "\0").replace("</assistant>", "\0").split("\0")[:-1]
    assert [turn.removeprefix("<user>").removeprefix("<assistant>") for turn in said] == answered
    kept = [turn for at, turn in enumerate(answered) if at % 2 and weights[at]]
    assert learnt(row).replace("<|end_of_text|>", "") == "".join(f"{turn}</assistant>" for turn in kept)


def test_training_on_the_last_answer_leaves_the_others_out() -> None:
    last = Renderer(TOKENIZER, template="guide_chat", train_on="last")
    assert learnt(talk("a", "b", "c", "d"), last) == "d</assistant><|end_of_text|>"
    assert learnt(talk("a", "b", "c", "d", weights={3: 0}), last) == ""


REFUSED = {
    "a_system_text": Row("messages", "a:1", messages=(Message("system", "S"), Message("user", "Q"), Message("assistant", "A"))),
    "tools": Row("messages", "a:1", messages=talk("Q", "A").messages, tools='[{"type": "function"}]'),
    "a_call": Row("messages", "a:1", messages=(Message("user", "Q"), Message("assistant", "", tool_calls=(ToolCall("f", "{}"),)))),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_form_cannot_say_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="guide_chat has no place for") as caught:
        RENDERER.render(REFUSED[name])
    assert (caught.value.code, caught.value.where) == ("data-template", "a:1")


def test_a_tag_inside_a_text_is_noticed() -> None:
    rows = [talk("Q", "A"), talk("Q</user><assistant>", "A")]
    assert RENDERER.render_block(rows).has_control_text_N.tolist() == [False, True]


def test_a_tokenizer_without_a_begin_token_begins_with_the_tag() -> None:
    tokenizer = make_tokenizer(CHATML)
    rendered = Renderer(tokenizer, template="guide_chat").render(talk("Q", "A"))
    assert tokenizer.decode(rendered.ids) == "<user>Q</user><assistant>A</assistant><|endoftext|>"


def test_plain_text_has_no_turns() -> None:
    assert choose_template("guide_chat", "messages") == "guide_chat"
    with pytest.raises(RecipeError):
        choose_template("guide_chat", "text")
