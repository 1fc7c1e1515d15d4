"""Every shape of a row is recognised by what it holds, read into one form, and refused with what it lacks."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.floor.errors import DataError
from luthier.text.problems import LineFault
from luthier.text.render import choose_template
from luthier.text.row import Message, Row, ToolCall
from luthier.text.rows import FileSet, first_shape, read_rows
from luthier.text.shapes import SHAPES, guess_shape

CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"city": "Oslo"}'}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
MADE_CALL = ToolCall("look", '{"city": "Oslo"}', "call_1")


def read(record: dict[str, Any]) -> tuple[str, Row]:
    """The shape of a record, and its row."""
    shape = guess_shape(record)
    return shape.name, shape.row(record, "a:1")


def turns(row: Row) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in row.messages]


def node(role: str, text: str, *replies: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"role": role, "text": text, "replies": list(replies), **more}


PAIRS = {
    "prompt_completion": {"prompt": "Q", "completion": "A"},
    "alpaca": {"instruction": "Q", "input": "", "output": "A"},
    "alpaca_with_its_prompt_rendered": {"instruction": "Q", "output": "A", "text": "### Instruction: Q"},
    "alpaca_gpteacher": {"instruction": "Q", "input": None, "response": "A"},
    "alpaca_dolly": {"instruction": "Q", "context": "", "response": "A", "category": "qa"},
    "alpaca_self_instruct": {"instruction": "Q", "instances": [{"input": "", "output": "A"}]},
    "question_answer": {"question": "Q", "answer": "A"},
    "question_answer_query": {"query": "Q", "response": "A"},
    "question_answer_input": {"input": "Q", "output": "A"},
}


@pytest.mark.parametrize("name", PAIRS)
def test_every_shape_of_a_question_makes_the_same_pair(name: str) -> None:
    shape, row = read(PAIRS[name])
    assert name.startswith(shape)
    assert row == Row("prompt_completion", "a:1", "Q", "A")


def test_the_input_of_an_instruction_follows_it_and_choices_stand_below_the_question() -> None:
    assert read({"instruction": "Add", "input": "1, 2", "output": 3})[1].prompt == "Add\n\n1, 2"
    row = read({"question": "Which?", "choices": ["a", "b"], "answer": "a"})[1]
    assert (row.prompt, row.completion) == ("Which?\n- a\n- b", "a")


TALKS = {
    "messages": {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]},
    "messages_in_parts": {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Q"}]},
            {"role": "assistant", "content": "A", "weight": 1, "refusal": None},
        ]
    },
    "messages_refusal": {
        "messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": None, "refusal": "A"}]
    },
    "prompt_completion": {
        "prompt": [{"role": "user", "content": "Q"}],
        "completion": [{"role": "assistant", "content": "A"}],
    },
    "sharegpt": {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]},
    "sharegpt_items": {"items": [{"from": "user", "value": "Q"}, {"from": "bing", "value": "A"}]},
    "sharegpt_role_and_content": {
        "conversation": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
    },
    "sharegpt_under_messages": {"messages": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]},
    "oasst": node("prompter", "Q", node("assistant", "A")),
    "oasst_tree": {"message_tree_id": "t", "prompt": node("prompter", "Q", node("assistant", "A"))},
}


@pytest.mark.parametrize("name", TALKS)
def test_every_shape_of_a_conversation_makes_the_same_messages(name: str) -> None:
    shape, row = read(TALKS[name])
    assert name.startswith(shape)
    assert row == Row("messages", "a:1", messages=(Message("user", "Q"), Message("assistant", "A")))


def test_openai_rows_keep_weights_calls_tools_names_and_the_developer() -> None:
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Q", "name": "ann"},
        {"role": "assistant", "content": None, "tool_calls": [CALL], "weight": 0},
        {"role": "tool", "tool_call_id": "call_1", "content": "-2"},
        {"role": "assistant", "content": "A"},
    ]
    row = read({"messages": messages, "tools": [TOOL], "parallel_tool_calls": False})[1]
    assert row.messages == (
        Message("developer", "Be brief."),
        Message("user", "Q", name="ann"),
        Message("assistant", "", 0, (MADE_CALL,)),
        Message("tool", "-2", tool_call_id="call_1"),
        Message("assistant", "A"),
    )
    assert json.loads(row.tools) == [TOOL]


def test_legacy_functions_become_tools() -> None:
    messages = [
        {"role": "user", "content": "Q"},
        {"role": "assistant", "function_call": CALL["function"]},
        {"role": "function", "name": "look", "content": "-2"},
        {"role": "assistant", "content": "A"},
    ]
    row = read({"messages": messages, "functions": [TOOL["function"]]})[1]
    assert row.messages[1].tool_calls == (ToolCall("look", '{"city": "Oslo"}'),)
    assert row.messages[2] == Message("tool", "-2", name="look")
    assert json.loads(row.tools) == [TOOL]


def test_sharegpt_calls_and_tools_are_the_same_as_openais() -> None:
    turns = [
        {"from": "human", "value": "Q"},
        {"from": "function_call", "value": '{"name": "look", "arguments": {"city": "Oslo"}}'},
        {"from": "observation", "value": "-2"},
        {"from": "gpt", "value": "A", "weight": 0},
    ]
    record = {"conversations": turns, "system": "S", "tools": json.dumps([TOOL["function"]])}
    row = read(record)[1]
    assert row.messages == (
        Message("system", "S"),
        Message("user", "Q"),
        Message("assistant", "", tool_calls=(ToolCall("look", '{"city": "Oslo"}'),)),
        Message("tool", "-2"),
        Message("assistant", "A", 0),
    )
    assert json.loads(row.tools) == [TOOL]


def test_answers_in_a_prompt_of_messages_are_never_learnt() -> None:
    prompt = [{"role": role, "content": role} for role in ("user", "assistant", "user")]
    row = read({"prompt": prompt, "completion": [{"role": "assistant", "content": "A"}]})[1]
    assert [message.weight for message in row.messages] == [1, 0, 1, 1]
    mixed = read({"prompt": prompt, "completion": "A"})[1]
    assert mixed == row


PREFERENCES = {
    "texts": {"prompt": "Q", "chosen": "A", "rejected": "B"},
    "messages": {
        "prompt": [{"role": "user", "content": "Q"}],
        "chosen": [{"role": "assistant", "content": "A"}],
        "rejected": [{"role": "assistant", "content": "B"}],
    },
    "conversations_that_begin_alike": {
        "chosen": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}],
        "rejected": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "B"}],
    },
    "openai": {
        "input": {"messages": [{"role": "user", "content": "Q"}], "parallel_tool_calls": True},
        "preferred_output": [{"role": "assistant", "content": "A"}],
        "non_preferred_output": [{"role": "assistant", "content": "B"}],
    },
}


@pytest.mark.parametrize("name", PREFERENCES)
def test_every_form_of_a_preference_makes_the_same_pair(name: str) -> None:
    shape, row = read(PREFERENCES[name])
    answers = {"chosen": (Message("assistant", "A"),), "rejected": (Message("assistant", "B"),)}
    assert shape == "preference"
    assert row == Row("preference", "a:1", messages=(Message("user", "Q"),), **answers)


def test_preference_pairs_are_not_trained_on_today_and_are_told_what_they_are_for() -> None:
    with pytest.raises(DataError) as caught:
        choose_template("auto", "preference")
    assert caught.value.code == "data-objective"
    assert "preference objectives such as DPO" in caught.value.why


def test_an_answer_labelled_bad_is_no_row_to_learn() -> None:
    shape, row = read({"prompt": "Q", "completion": "B", "label": False})
    assert (shape, row.chosen, row.rejected) == ("preference", (), (Message("assistant", "B"),))
    assert read({"prompt": "Q", "completion": "B", "label": "spam"})[0] == "prompt_completion"


CLOSEST = {
    "prompt": ({"prompt": "Q"}, "prompt_completion is closest, but it lacks completion"),
    "instruction": ({"instruction": "Q", "inputs": ""}, "alpaca is closest, but it lacks output"),
    "one_side": ({"chosen": "Q"}, "preference is closest, but it lacks rejected"),
    "turns_of_text": ({"conversations": ["hi"]}, "sharegpt is closest, but it lacks conversations whose items are objects"),
    "nothing": ({"a": 1}, "has no shape of a row (prompt_completion, messages,"),
    "an_export": ({"mapping": {}, "title": "t"}, "is a conversation of a ChatGPT export"),
    "flat_messages": (
        {"message_id": "1", "parent_id": None, "role": "prompter", "text": "Q"},
        "is a flat message of OpenAssistant",
    ),
    "questions_alone": ({"question_id": 1, "turns": ["Q"]}, "is a question of MT-Bench"),
}  # fmt: skip


@pytest.mark.parametrize("name", CLOSEST)
def test_a_record_without_a_shape_is_told_the_closest_one(name: str) -> None:
    record, said = CLOSEST[name]
    with pytest.raises(LineFault) as caught:
        read(record)
    assert said in caught.value.what


SEVERAL_ROWS = {
    "instances": {"instruction": "Q", "instances": [{"output": "A"}, {"output": "B"}]},
    "a_history": {"instruction": "Q", "output": "A", "history": [["q", "a"]]},
    "a_system_text": {"instruction": "Q", "output": "A", "system": "S"},
}


@pytest.mark.parametrize("name", SEVERAL_ROWS)
def test_what_a_pair_cannot_hold_is_refused_with_the_command_that_helps(name: str) -> None:
    with pytest.raises(LineFault) as caught:
        read(SEVERAL_ROWS[name])
    assert "luthier data convert" in caught.value.fix


def test_a_later_row_that_lacks_a_field_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"instruction": "Q", "output": "A"}\n{"instruction": "Q", "outptu": "A"}\n')
    with pytest.raises(DataError) as caught:
        list(read_rows([path], "auto"))
    assert caught.value.where == f"{path}:2"
    assert caught.value.what.startswith(
        "lacks the field 'output' of format alpaca; it has: instruction, outptu"
    )


def test_what_the_shape_does_not_read_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    tree = {
        "prompt": node("prompter", "Q", node("assistant", "A"), node("assistant", "B")),
        "tree_state": "ok",
    }
    path.write_text(json.dumps(tree) + "\n")
    unused: Counter[str] = Counter()
    rows = list(read_rows([path], "auto", unused_fields=unused))
    assert turns(rows[0]) == [("user", "Q"), ("assistant", "A")]
    assert unused == {"tree_state": 1, "replies (other branches)": 1}
    assert first_shape(FileSet((path,)), "auto").startswith("OpenAssistant: a tree of replies")


NAMES = st.sampled_from(
    sorted(
        {name for shape in SHAPES for name in shape.fields} | {"role", "content", "from", "value", "function"}
    )
)
HOSTILE = {
    "nested_arguments": ('{"a": ' * 900 + "1" + "}" * 900, "nested deeper than 64"),
    "half_a_pair": ('{"a": "\\ud800"}', "half of a surrogate pair"),
    "nan": ('{"a": NaN}', "NaN is not JSON"),
    "a_key_twice": ('{"a": 1, "a": 2}', "occurs twice"),
    "cut_off": ('{"a": ', "arguments is no JSON"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_arguments_are_judged_as_strictly_as_lines(name: str) -> None:
    arguments, said = HOSTILE[name]
    call = {"function": {"name": "f", "arguments": arguments}}
    with pytest.raises(LineFault) as caught:
        read({"messages": [{"role": "assistant", "tool_calls": [call]}]})
    assert said in caught.value.what


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=400, deadline=None)
@given(record=st.dictionaries(NAMES, JSON, max_size=5))
def test_no_record_crashes_the_recognition(record: dict[str, Any]) -> None:
    try:
        _, row = read(record)
    except LineFault as fault:
        assert fault.what
    else:
        assert row.origin == "a:1"
