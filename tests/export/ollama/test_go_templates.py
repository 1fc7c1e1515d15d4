"""Luthier's reader of Go templates against Go: its documentation's examples, and what Go made of others (bench/ollama)."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.export.ollama.go_parse import GoTemplateError, parse
from luthier.export.ollama.go_run import execute
from luthier.export.ollama.messages import collate, joins_neighbours, render
from luthier.export.ollama.proof import prove_texts
from luthier.export.ollama.translate import literal
from luthier.text.row import Message
from tests.export.ollama.cases import DOCUMENTED, MORE, ODD_ONES, OLLAMA, TALK, random_templates
from tests.export.ollama.styles import ALL, dialect

KNOWN: dict[str, Any] = json.loads(Path(__file__).with_name("known.json").read_text(encoding="utf-8"))
RANDOM = 200
VALUES = {"System": "", "Messages": [], "Tools": [], "Response": "", **MORE}
AGAIN = "Ask Go again: python -m bench.ollama.ask_go GO"


@pytest.mark.parametrize("template", DOCUMENTED)
def test_the_examples_of_the_documentation_make_what_it_says(template: str) -> None:
    assert execute(parse(template), VALUES) == DOCUMENTED[template]


def test_templates_make_what_go_makes_of_them_and_are_refused_where_go_refuses() -> None:
    templates = [*DOCUMENTED, *ODD_ONES, *random_templates(RANDOM)]
    answers = KNOWN["plain"][: len(templates)]
    assert len(answers) == len(templates), AGAIN
    for template, answer in zip(templates, answers, strict=True):
        assert _made(template) == answer.get("text"), template
    assert sum("text" not in answer for answer in answers) >= 15


def _made(template: str) -> str | None:
    try:
        return execute(parse(template), VALUES)
    except GoTemplateError:
        return None


def test_ollamas_own_examples_make_what_go_makes_of_them() -> None:
    answers = KNOWN["plain"][-2 * len(OLLAMA) :]
    talks = [(template, talk) for template in OLLAMA for talk in (TALK, TALK[1:])]
    for (template, talk), answer in zip(talks, answers, strict=True):
        assert render(parse(template), talk) == answer["text"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_go_itself_made_the_same_of_every_translation(name: str) -> None:
    """The conversations were compared when Go was asked; a translation that changed since must be asked about again."""
    with dialect(ALL[name]) as found:
        written, _ = prove_texts(found, [])
    known = KNOWN["styles"][name]
    assert known == {"template": sha256(found.go.encode()).hexdigest(), "conversations": len(written)}, AGAIN


SPACE = st.text(alphabet=" \t\r\n", max_size=4)
WORD = st.text(alphabet="ab{}-'", max_size=4).filter(lambda word: "{{" not in word and not word.endswith("{"))


@given(st.lists(st.tuples(WORD, SPACE, st.booleans(), st.booleans(), SPACE), max_size=6), WORD)
def test_a_trim_marker_takes_exactly_the_white_space_beside_it(
    parts: list[tuple[str, str, bool, bool, str]], last: str
) -> None:
    template, wanted, trims = "", "", False
    for word, before, left, right, after in parts:
        text = word + before
        template += text + ("{{- " if left else "{{ ") + '"|"' + (" -}}" if right else " }}") + after
        text = text.lstrip(" \t\r\n") if trims else text
        wanted += (text.rstrip(" \t\r\n") if left else text) + "|"
        # What follows an action runs to the next one: the white space here and the word after it.
        rest, trims = after, right
        if rest:
            template += '{{ "" }}'
            wanted += rest.lstrip(" \t\r\n") if right else rest
            trims = False
    template, wanted = template + last, wanted + (last.lstrip(" \t\r\n") if trims else last)
    assert execute(parse(template), {}) == wanted


@given(
    st.text(alphabet=st.sampled_from('{}"-`a \n\t\u00a0\u200b\U000e0001é'), max_size=30), st.text(max_size=5)
)
def test_any_text_is_written_as_it_stands(text: str, said: str) -> None:
    template = literal(text) + "{{ .said }}" + literal(text)
    assert execute(parse(template), {"said": said}) == text + said + text
    assert '"""' not in literal(text)
    assert all(sign.isprintable() or sign in "\n\t" for sign in literal(text))


def test_neighbours_are_joined_as_ollama_joins_them() -> None:
    """The cases of its TestCollate (template/template_test.go)."""
    hello = [Message("user", "Hello"), Message("user", "How are you?")]
    assert collate(hello) == ("", [Message("user", "Hello\n\nHow are you?")])
    results = [Message("tool", "sunny", name="get_weather"), Message("tool", "72F", name="get_temperature")]
    assert collate(results) == ("", results)
    asked = [Message("user", "What's the weather?"), *results]
    assert collate(asked) == ("", asked)
    mixed = [
        Message("system", "You are helpful"),
        hello[0],
        Message("assistant", "Hi there!"),
        *asked,
        Message("user", "Thanks"),
    ]
    assert collate(mixed) == ("You are helpful", mixed)
    assert (joins_neighbours(hello), joins_neighbours(mixed)) == (True, False)


def test_templates_of_ollamas_tests_make_what_they_expect() -> None:
    """The cases `mistral assistant` and `chatml` of its TestExecuteWithMessages."""
    friend = [
        Message("user", "Hello friend!"),
        Message("assistant", "Hello human!"),
        Message("user", "What is your name?"),
    ]
    mistral = parse(
        '\n{{- range $i, $m := .Messages }}\n{{- if eq .Role "user" }}[INST] {{ .Content }}[/INST] {{ else if eq .Role "assistant" }}'
        "{{ .Content }}{{ end }}\n{{- end }}"
    )
    named = [*friend, Message("assistant", "My name is Ollama and I")]
    expected = (
        "[INST] Hello friend![/INST] Hello human![INST] What is your name?[/INST] My name is Ollama and I"
    )
    assert render(mistral, named) == expected
    chatml = parse(
        "\n{{- range $index, $_ := .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n"
    )
    system = Message("system", "You are a helpful assistant!")
    assert render(chatml, [system, *friend]) == (
        "<|im_start|>system\nYou are a helpful assistant!<|im_end|>\n<|im_start|>user\nHello friend!<|im_end|>\n"
        "<|im_start|>assistant\nHello human!<|im_end|>\n<|im_start|>user\nWhat is your name?<|im_end|>\n<|im_start|>assistant\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    "template",
    ["{{ if 1 }}" * 100, "{{ " + "(" * 100, "{{ define `a` }}{{ end }}", "{{ template `a` }}", "{{ " + "a" * 10**5, "{{ range 100000000 }}aaaaaaaaaa{{ end }}"],
)  # fmt: skip
def test_a_template_that_would_take_too_much_or_is_not_known_is_refused(template: str) -> None:
    with pytest.raises(GoTemplateError):
        execute(parse(template), {})
