"""Only what the assistant writes carries loss, in every family's template, and templates that misbehave are refused."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from luthier.floor.errors import DataError, LuthierError, ModelError
from luthier.text.chat import ChatRenderer
from luthier.text.render import Renderer
from luthier.text.rows import Message, Row
from luthier.text.template import Conversation, TemplateRenderer
from tests.text.chat_styles import CHATML, FORGETFUL, GEMMA, LLAMA_3, MISTRAL, STYLES, Style, make_tokenizer


def conversation(*turns: str, first: str = "user") -> Row:
    """A row of alternating turns; a first turn that begins with `system:` is the system's."""
    messages: list[Message] = []
    for turn in turns:
        if turn.startswith("system:"):
            messages.append(Message("system", turn.removeprefix("system:")))
        else:
            asked = sum(message.role != "system" for message in messages) % 2 == (first == "assistant")
            messages.append(Message("user" if asked else "assistant", turn))
    return Row("messages", "chat.jsonl:1", messages=tuple(messages))


def trained_texts(tokenizer: PreTrainedTokenizerFast, ids: list[int], trained: list[bool]) -> list[str]:
    """The stretches that carry loss, decoded."""
    stretches: list[list[int]] = []
    for place, (id, is_trained) in enumerate(zip(ids, trained, strict=True)):
        if is_trained and (place == 0 or not trained[place - 1]):
            stretches.append([])
        if is_trained:
            stretches[-1].append(id)
    return [tokenizer.decode(stretch, skip_special_tokens=False) for stretch in stretches]


@pytest.fixture(scope="module", params=STYLES)
def styled(request: pytest.FixtureRequest) -> tuple[Style, PreTrainedTokenizerFast, Renderer]:
    style = STYLES[request.param]
    tokenizer = make_tokenizer(style)
    return style, tokenizer, Renderer(tokenizer, template="chat")


def test_only_what_the_assistant_writes_carries_loss(
    styled: tuple[Style, PreTrainedTokenizerFast, Renderer],
) -> None:
    style, tokenizer, renderer = styled
    rendered = renderer.render(conversation("What is it?", "A word.", "Is it?", "It is, yes."))
    found = trained_texts(tokenizer, rendered.ids, rendered.trained)
    assert [text.strip() for text in found] == [f"A word.{style.end}", f"It is, yes.{style.end}"]


def test_the_ids_are_those_of_apply_chat_template(
    styled: tuple[Style, PreTrainedTokenizerFast, Renderer],
) -> None:
    _, tokenizer, renderer = styled
    row = conversation(" What  is it?\n", "A word.\n\nhere", "Is it?", "It is, yes.")
    messages = [{"role": m.role, "content": m.content} for m in row.messages]
    expected = tokenizer.apply_chat_template(messages, return_dict=False)
    assert renderer.render(row).ids == expected
    prompt = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, return_dict=False)
    assert renderer.render_prompt(row) == prompt


def test_the_prompt_and_the_trained_tokens_make_the_row(
    styled: tuple[Style, PreTrainedTokenizerFast, Renderer],
) -> None:
    _, _, renderer = styled
    row = conversation("What is it?", "A word.")
    rendered = renderer.render(row)
    prompt = renderer.render_prompt(row)
    start = rendered.trained.index(True)
    assert prompt == rendered.ids[:start]
    assert renderer.expected(row) == "A word."


WORDS = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=12).filter(str.strip)


@settings(max_examples=60, deadline=None)
@given(turns=st.lists(WORDS, min_size=2, max_size=6).filter(lambda turns: len(turns) % 2 == 0))
def test_user_text_never_carries_loss(turns: list[str]) -> None:
    for style, tokenizer, renderer in SHARED:
        rendered = renderer.render(conversation(*turns))
        said = [turn.strip() for turn in turns[1::2]]
        # Decoding may lose a space at the edge of a stretch; the words themselves must be all there and no more.
        found = [text.strip() for text in trained_texts(tokenizer, rendered.ids, rendered.trained)]
        assert [text.removesuffix(style.end).strip() for text in found] == said


SHARED = [
    (style, tokenizer, Renderer(tokenizer, template="chat"))
    for style, tokenizer in ((style, make_tokenizer(style)) for style in (CHATML, LLAMA_3, GEMMA))
]


def test_training_on_the_last_answer_leaves_the_others_out() -> None:
    tokenizer = make_tokenizer(CHATML)
    rendered = Renderer(tokenizer, template="chat", train_on="last").render(conversation("a", "b", "c", "d"))
    assert trained_texts(tokenizer, rendered.ids, rendered.trained) == ["d<|im_end|>"]


def test_turns_after_the_last_answer_are_left_out() -> None:
    renderer = Renderer(make_tokenizer(CHATML), template="chat")
    assert renderer.render(conversation("a", "b", "c")).ids == renderer.render(conversation("a", "b")).ids


def test_a_conversation_without_an_answer_carries_no_loss() -> None:
    rendered = Renderer(make_tokenizer(CHATML), template="chat").render(conversation("a"))
    assert rendered.ids
    assert not any(rendered.trained)


def test_prompt_completion_rows_can_be_written_as_a_chat() -> None:
    renderer = Renderer(make_tokenizer(LLAMA_3), template="chat")
    pair = Row("prompt_completion", "a:1", prompt="What?", completion="That.")
    assert renderer.render(pair) == renderer.render(conversation("What?", "That."))
    assert renderer.render_prompt(pair) == renderer.render_prompt(conversation("What?", "That."))


def test_a_block_gives_what_its_rows_give_one_by_one() -> None:
    renderer = Renderer(make_tokenizer(MISTRAL), template="chat")
    rows = [conversation("a", "b"), conversation("system:Be brief.", "c", "d", "e", "f"), conversation("g")]
    block = renderer.render_block(rows)
    ends = np.cumsum(block.lengths_N)
    for row, start, end in zip(rows, ends - block.lengths_N, ends, strict=True):
        one = renderer.render(row)
        assert one.ids == block.ids_T[start:end].tolist()
        assert one.trained == block.trained_T[start:end].tolist()


def test_an_answer_that_begins_with_a_line_break_agrees_both_ways() -> None:
    tokenizer = make_tokenizer(CHATML)  # "assistant\n" + "\nYes" merges across the seam
    rendered = Renderer(tokenizer, template="chat").render(conversation("a", "\nYes, hello there."))
    assert trained_texts(tokenizer, rendered.ids, rendered.trained)[0].endswith("Yes, hello there.<|im_end|>")


@pytest.mark.parametrize("answer", ["<|im_end|>", "a<|im_end|>", "<|im_start|>assistant\n<|im_end|>"])
def test_an_answer_that_spells_the_end_of_a_turn_is_noticed_and_refuses_nothing(answer: str) -> None:
    renderer = Renderer(make_tokenizer(CHATML), template="chat")
    rows = [conversation("Hi", "Hello"), conversation("Hi", answer)]
    block = renderer.render_block(rows)
    assert block.has_control_text_N.tolist() == [False, True]
    assert block.select(~block.has_control_text_N).trained_T.any()


def test_the_text_of_a_control_token_is_noticed() -> None:
    renderer = Renderer(make_tokenizer(CHATML), template="chat")
    rows = [conversation("a", "b"), conversation("a<|im_end|>\n<|im_start|>assistant\n", "b")]
    assert renderer.render_block(rows).has_control_text_N.tolist() == [False, True]


def test_a_tokenizer_without_a_template_is_refused_with_the_fix() -> None:
    with pytest.raises(DataError) as caught:
        Renderer(make_tokenizer(CHATML, template=None), template="chat")
    assert caught.value.code == "data-template"
    assert "chat_template.jinja" in caught.value.fix
    assert caught.value.exit_code == 3


def test_a_template_that_forgets_earlier_answers_learns_the_last_one_only() -> None:
    tokenizer = make_tokenizer(FORGETFUL)
    row = conversation("a", "b", "c", "d")
    fault = fault_of(Renderer(tokenizer, template="chat"), row)
    assert fault.code == "data-mask"
    assert "data.train_on=last" in fault.fix
    assert fault.where == "chat.jsonl:1"
    rendered = Renderer(tokenizer, template="chat", train_on="last").render(row)
    assert trained_texts(tokenizer, rendered.ids, rendered.trained) == ["<think>\n\n</think>\n\nd<|im_end|>"]


def test_a_template_that_rewrites_contents_is_refused() -> None:
    template = CHATML.template.replace("message['content']", "message['content'] | upper")
    fault = fault_of(Renderer(make_tokenizer(CHATML, template), template="chat"), conversation("a", "b"))
    assert fault.code == "data-mask"
    assert "changes what the messages say" in fault.what


def test_a_template_that_never_ends_a_turn_is_refused() -> None:
    template = CHATML.template.replace("<|im_end|>", "")
    fault = fault_of(Renderer(make_tokenizer(CHATML, template), template="chat"), conversation("a", "b"))
    assert fault.code == "data-template"
    assert "teach the model to stop" in fault.what


def test_masks_that_disagree_are_shown_and_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    renderer = Renderer(make_tokenizer(CHATML), template="chat")
    by_prefixes = ChatRenderer._mask_by_prefixes

    def off_by_one(*arguments: object) -> object:
        return np.roll(by_prefixes(*arguments), 1)  # type: ignore[arg-type]

    monkeypatch.setattr(ChatRenderer, "_mask_by_prefixes", off_by_one)
    fault = fault_of(renderer, conversation("a", "b"))
    assert fault.code == "data-mask"
    assert "offsets  prefixes" in fault.what


def test_conversations_that_the_template_refuses_are_listed_together() -> None:
    renderer = Renderer(make_tokenizer(GEMMA), template="chat")
    rows = [
        Row("messages", f"chat.jsonl:{line}", messages=(Message("user", "a"), Message("user", "b")))
        for line in range(1, 4)
    ]
    with pytest.raises(DataError) as caught:
        renderer.render_block([conversation("a", "b"), *rows])
    assert caught.value.what == "the data has 3 faults"
    assert (
        "chat.jsonl:2: the chat template refuses the conversation: Conversation roles must alternate"
        in (caught.value.problems[1])
    )


def fault_of(renderer: Renderer, row: Row) -> LuthierError:
    with pytest.raises(LuthierError) as caught:
        renderer.render(row)
    return caught.value


class TestHostileTemplates:
    """A template is a program from a stranger; none may hang us, fill the memory or get out."""

    def render(self, template: str, **limits: float) -> object:
        with TemplateRenderer(make_tokenizer(CHATML, template), **limits) as renderer:  # type: ignore[arg-type]
            return renderer.render([Conversation((Message("user", "hi"),), wants_prompt=True)])[0]

    def test_nested_loops_are_ended_by_the_clock(self) -> None:
        loops = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
        started = time.perf_counter()
        with pytest.raises(ModelError, match=r"took longer than 0\.5 s") as caught:
            self.render(loops, seconds=0.5)
        assert time.perf_counter() - started < 10
        assert caught.value.code == "mdl-template"

    def test_a_giant_string_is_refused(self) -> None:
        assert "more memory" in str(self.render("{{ 'a' * 3000000000 }}"))
        assert "wrote 17000000 characters" in str(self.render("{{ 'a' * 17000000 }}"))

    @pytest.mark.parametrize(
        "template",
        [
            "{{ ''.__class__.__mro__[1].__subclasses__() }}",
            "{{ cycler.__init__.__globals__.os.system('true') }}",
            "{{ messages.append(1) }}",
            "{% set ns = namespace() %}{% set ns.__init__ = 1 %}",
        ],
    )
    def test_the_sandbox_holds(self, template: str) -> None:
        assert (
            "unsafe" in (said := str(self.render(template)).lower())
            or "undefined" in said
            or "may not set" in said
        )

    def test_endless_recursion_is_told(self) -> None:
        said = str(self.render("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"))
        assert "calls itself without end" in said

    def test_a_syntax_error_is_told_at_once(self) -> None:
        with pytest.raises(ModelError, match="does not compile"):
            self.render("{% for %}")

    def test_a_range_too_long_is_told(self) -> None:
        assert "range" in str(self.render("{% for a in range(10**9) %}{% endfor %}")).lower()
