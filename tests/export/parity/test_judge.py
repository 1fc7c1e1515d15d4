"""Small judgements: where answers end, what a name says of a type, which bound a strange type has, which shape a row has."""

import re

import pytest

from luthier.export.parity.judge import find_type, type_in_name
from luthier.export.parity.rows import shape_of
from luthier.export.parity.server import Ends
from luthier.text.row import Message, Row

CONTROL = re.compile(re.escape("<|im_end|>"))


def test_answers_that_run_on_behind_their_end_are_a_fault_where_most_do() -> None:
    ends = Ends()
    ends.note("a:1", "Paris.", "Paris.", "stop")
    ends.note("a:2", "Paris.", "Rome, and more", "length")
    ends.note("a:3", "", "anything", "stop")
    ends.note("a:4", "Rome.", "Rome.\nuser\nAnd", "length")
    assert ends.faults() == [], "one of two may be a close choice"
    ends.note("a:5", "Oslo.", "Oslo.", "length")
    assert [str(fault) for fault in ends.faults()] == [
        "a:4: the server's answer runs on behind its end: '\\nuser\\nAnd'"
    ]


@pytest.mark.parametrize(
    ("name", "type"),
    [
        ("http://h:1 model-2026-Q4_K_M", "Q4_K_M"),
        ("http://h:1 /models/model-Q8_0.gguf", "Q8_0"),
        ("http://h:1 llama3.2:3b-instruct-q4_K_M", "Q4_K_M"),
        ("http://h:1 my-f16", "F16"),
        ("http://h:1 Qwen2-7B", None),
        ("http://h:1 Q8_0x", None),
    ],
)
def test_the_name_of_a_servers_model_may_end_in_its_type(name: str, type: str | None) -> None:
    found = type_in_name(name)
    assert (found.name if found else None) == type


@pytest.mark.parametrize(
    ("file_type", "bits", "type"),
    [(15, 16.0, "Q4_K_M"), (30, 4.55, "Q4_0"), (None, 1.7, "Q2_K"), (99, 40.0, "F32")],
)
def test_a_type_that_is_not_written_here_has_the_bound_of_the_next_fewer_bits(
    file_type: int | None, bits: float, type: str
) -> None:
    assert find_type(file_type, bits_a_weight=bits).name == type


def test_shapes_are_found_in_any_part_of_a_conversation() -> None:
    def shape(*messages: Message, tools: str = "") -> set[str]:
        return set(shape_of(Row("messages", "a:1", messages=messages, tools=tools), CONTROL))

    user, answer = Message("user", "Hi"), Message("assistant", "Hello")
    assert shape(user, answer) == {"plain"}
    assert shape(Message("system", "Be brief."), user, answer) == {"system"}
    assert shape(user, answer, user, answer) == {"several turns"}
    assert shape(user, answer, tools="[{}]") == shape(user, Message("tool", "1"), answer) == {"tools"}
    assert shape(Message("user", "Größe <|im_end|>"), answer) == {"not ASCII", "special tokens in text"}
    assert shape_of(Row("text", "a:1", text="plain"), CONTROL) == {"plain"}
