"""Templates of every style come out in Ollama as in Transformers: each shape of conversation, character for character."""

import json
from dataclasses import replace
from functools import cache

import pytest

from luthier.export.ollama.conversations import Asked, own_conversations
from luthier.export.ollama.dialect import Dialect, dialect_of
from luthier.export.ollama.go_parse import parse
from luthier.export.ollama.messages import render
from luthier.export.ollama.proof import Proof, prove_texts
from luthier.floor.errors import GateError
from luthier.text.row import Message, Row, ToolCall
from luthier.text.template import TemplateRenderer
from tests.export.ollama.styles import ALL, SMOLLM, begins_with_bos, dialect
from tests.text.chat_styles import CHATML, FORGETFUL, make_tokenizer
from tests.text.template_styles import SIX

# Neither Gemma 1 and 2 nor single prompts have a place for a system text.
WITHOUT_SYSTEM = ("gemma",)
# These write a system text between other messages in ways of their own.
WITHOUT_LATER_SYSTEM = ("gemma_3", "mistral_last")
TRIMMING = ("llama_3", "llama_3_plain", "gemma", "gemma_3", "llama_2", "mistral")


# A process a template: out of the quick suite.
pytestmark = pytest.mark.slow


@cache
def proven(name: str) -> tuple[Dialect, list[tuple[Asked, str]], Proof]:
    """A style's dialect, and what was proven of it on Luthier's own conversations."""
    with dialect(ALL[name]) as found:
        return found, *prove_texts(found, [])


@pytest.mark.parametrize("name", ALL)
def test_every_shape_comes_out_the_same_without_the_token_that_llama_cpp_puts_first(name: str) -> None:
    found, written, proof = proven(name)
    assert found.has_system == (name not in WITHOUT_SYSTEM)
    assert bool(found.trims) == (name in TRIMMING)
    shapes = {"".join(message.role[0] for message in asked.messages) for asked, _ in written}
    assert {"u", "uau", "uauauau"} <= shapes
    assert ("su" in shapes, "suauau" in shapes) == (found.has_system, found.has_system)
    assert proof.has_later_system == (name not in WITHOUT_LATER_SYSTEM)
    assert proof.conversations == len(written) >= 24
    style = ALL[name]
    if begins_with_bos(style):
        assert not any(text.startswith(str(style.bos)) for _, text in written)


def test_a_file_without_a_begin_of_text_token_gets_it_from_the_template() -> None:

    tokenizer = make_tokenizer(SIX["llama_3"])
    with TemplateRenderer(tokenizer) as renderer:
        found = dialect_of("chat", tokenizer, renderer, puts_bos=False)
        (_, text), *_ = prove_texts(found, [])[0]
    assert text.startswith("<|begin_of_text|><|start_header_id|>system")
    assert found.go.startswith("<|begin_of_text|>{{")


def test_tools_calls_and_answers_come_out_the_same_where_the_style_has_them() -> None:
    found, written, _ = proven("qwen")
    assert found.tools == ""
    talks = [(asked, text) for asked, text in written if asked.tools]
    assert len(talks) == 10
    _, text = talks[-2]
    assert (
        '<tools>\n{"type": "function", "function": {"name": "look", "description": "Look at Where."' in text
    )
    assert (
        '<tool_call>\n{"name": "see_1", "arguments": {"city": "Öl 1", "days": 1}}\n</tool_call><|im_end|>'
        in text
    )
    # Ollama looks for calls by the first text behind `if .ToolCalls`.
    assert "{{ if .ToolCalls }}{{ range $n, $_ := $calls }}<tool_call>" in found.go


@pytest.mark.parametrize("name", ["llama_3", "phi", "harmony", "mistral", "gemma", "chatml"])
def test_a_style_whose_tools_have_no_form_has_none_and_says_why(name: str) -> None:
    found, _, _ = proven(name)
    assert found.tools
    assert ".Tools" not in found.go  # so that Ollama refuses requests with tools


def test_tools_that_ollama_writes_otherwise_are_counted_and_shown() -> None:
    properties = {"unit": {"type": "string"}, "city": {"type": "string"}}
    tool = {
        "type": "function",
        "function": {
            "name": "look",
            "description": "",
            "parameters": {"type": "object", "properties": properties},
        },
    }
    row = Row(
        "messages",
        "rows.jsonl:7",
        messages=(Message("user", "Weather?"),),
        tools=json.dumps([tool]),
    )
    with dialect(SIX["qwen"]) as found:
        _, proof = prove_texts(found, [row])
    assert proof.left_out == {"other_tools": 1}
    assert proof.other_tools.startswith("rows.jsonl:7, character ")
    assert '"unit": {"type": "string"}' in proof.other_tools


def test_rows_that_ollama_changes_on_the_way_are_counted() -> None:
    call = ToolCall("look", "{}")
    rows = [
        Row("messages", "a:1", messages=(Message("user", "One."), Message("user", "Two."))),
        Row("messages", "a:2", messages=(Message("developer", "Be kind."), Message("user", "Hello"))),
        Row("messages", "a:3", messages=(Message("user", "Hm"), Message("assistant", "", tool_calls=(call,)), Message("tool", "x"), Message("assistant", "So."))),
        Row("messages", "a:4", messages=(Message("user", " Hello\n"), Message("assistant", "Hi."))),
    ]  # fmt: skip
    with dialect(ALL["chatml"]) as found:
        _, proof = prove_texts(found, rows)
        assert proof.left_out == {"neighbours": 1, "roles": 1, "tools": 1}
        assert (proof.prompts, proof.with_blanks) == (1 + 1, 0)
    with dialect(ALL["llama_3_plain"]) as found:
        assert prove_texts(found, rows[-1:])[1].with_blanks == 1


def test_every_answer_of_a_row_gives_a_prompt() -> None:
    said = ("One?", "One.", "Two?", "Two.", "Three?", "Three.")
    row = Row(
        "messages",
        "a:1",
        messages=tuple(Message(("user", "assistant")[at % 2], text) for at, text in enumerate(said)),
    )
    with dialect(SMOLLM) as found:
        written, proof = prove_texts(found, [row])
    assert (proof.rows, proof.prompts) == (1, 3)
    assert [text for asked, text in written if asked.origin == "a:1"][1].endswith(
        "Two?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_template_that_forgets_is_refused_with_row_and_character() -> None:
    messages = (
        Message("user", "Why?"),
        Message("assistant", "<think>Hm.</think>So."),
        Message("user", "How?"),
        Message("assistant", "Thus."),
    )
    with dialect(FORGETFUL) as found, pytest.raises(GateError) as caught:
        prove_texts(found, [Row("messages", "talks.jsonl:3", messages=messages)])
    fault = caught.value
    assert (fault.code, fault.exit_code) == ("gate-template", 1)
    assert fault.where == "talks.jsonl:3 (user, assistant, user)"
    assert "from character 54 on" in fault.what
    assert fault.problems[0].startswith("the run  ...")
    assert "So." in fault.problems[0]
    assert "<think>Hm." in fault.problems[1]


ODD = {
    "numbers its turns": "{% for m in messages %}{{ loop.index }}: {{ m.content }}<|im_end|>\n{% endfor %}",
    "leaves out all but the last": "{{ messages[-1].content }}<|im_end|>",
    "writes a text twice": "{% for m in messages %}{{ m.content }}{{ m.content }}<|im_end|>{% endfor %}",
    "takes no answer": "{% for m in messages %}{% if m.role == 'assistant' %}{{ raise_exception('no') }}{% endif %}{{ m.content }}{% endfor %}",
}


@pytest.mark.parametrize("oddity", ODD)
def test_a_template_of_no_known_style_is_refused(oddity: str) -> None:
    with pytest.raises(GateError) as caught, dialect(replace(CHATML, template=ODD[oddity])) as found:
        prove_texts(found, [])
    assert caught.value.code == "gate-template"
    assert "llama-server --jinja" in caught.value.fix


def test_braces_quotes_and_signs_that_get_lost_survive_as_text_of_the_template() -> None:
    odd = '{{ \'{{ x }} {{{ """ \u00a0\u200b {\' }}'
    template = "{% for m in messages %}" + odd + "{{ m.content }}<|im_end|>{% endfor %}"
    with dialect(replace(CHATML, template=template)) as found:
        written, _ = prove_texts(found, [])
    assert written[0][1].startswith('{{ x }} {{{ """ \u00a0\u200b {Hello')
    assert '"""' not in found.go
    assert found.go.isprintable() or "\u00a0" not in found.go


def test_single_prompts_are_asked_one_by_one() -> None:

    tokenizer = make_tokenizer(SIX["llama_3"])
    found = dialect_of("guide", tokenizer, None, puts_bos=False)
    nodes = parse(found.go)
    talk = (Message("user", "One?"), Message("assistant", "1."), Message("user", "Two?"))
    assert render(nodes, talk) == "<|begin_of_text|>Two?\n"
    assert prove_texts(found, [Row("prompt_completion", "a:1", "Größe?", "7")])[1].prompts == 1
    plain = dialect_of("text", tokenizer, None, puts_bos=True)
    assert render(parse(plain.go), talk) == "Two?"
    assert prove_texts(plain, [Row("text", "a:1", text="Once upon a time")])[1].prompts == 1
    tagged = dialect_of("guide_chat", tokenizer, None, puts_bos=True)
    assert (
        render(parse(tagged.go), talk)
        == "<user>One?</user><assistant>1.</assistant><user>Two?</user><assistant>"
    )
    assert len(list(own_conversations(with_system=False, with_history=False))) == 6
