"""The dialects beside ChatGPT's: what is said in them is in the rows, what rows cannot hold is counted."""

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.floor.errors import DataError
from tests.data.convert.converting import FORMATS, check_books, converted, rows_of, said


def copied(folder: Path, name: str, **wishes: Any) -> Any:
    copy = folder / name
    copy.write_bytes((FORMATS / name).read_bytes())
    return converted(copy, **wishes)


def test_openai_rows_lose_tools_and_pictures_with_a_count_and_keep_weights(tmp_path: Path) -> None:
    rows, report = copied(tmp_path, "openai_chat_finetune_examples.jsonl")
    assert [said(row) for row in rows] == [
        [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello!")],
        [("user", "2+2?"), ("assistant", "5"), ("user", "Check again."), ("assistant", "4")],
        [("user", "Weather in Oslo?"), ("assistant", "-2 °C.")],
        [("user", "What is this?"), ("assistant", "A tiny test image.")],
        [("user", "Weather in Rome?"), ("assistant", "20 °C.")],
    ]
    assert [message.get("weight") for message in rows[1]["messages"]] == [None, 0, None, None]
    assert report.messages.dropped == {"tool call": 2, "tool output": 2}
    assert report.notes == {
        "image, sound or file left out of a message": 1,
        "'parallel_tool_calls' is a field that no row has": 1,
    }
    check_books(report)


def test_openai_tools_become_text_on_request(tmp_path: Path) -> None:
    rows, report = copied(tmp_path, "openai_chat_finetune_examples.jsonl", tools="text")
    call = {"name": "get_weather", "arguments": {"city": "Oslo"}}
    assert said(rows[2])[1:3] == [("assistant", json.dumps(call)), ("tool", '{"temp": -2}')]
    assert said(rows[4])[2] == ("tool", '{"temp": 20}')
    assert "tool call" not in report.messages.dropped


def test_a_message_that_speaks_and_calls_keeps_what_it_says(tmp_path: Path) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    answer = {"role": "assistant", "content": "Let me look.", "tool_calls": [call]}
    record = {"messages": [{"role": "user", "content": "Where?"}, answer]}
    rows, report = rows_of(tmp_path, [record])
    assert said(rows[0])[1] == ("assistant", "Let me look.")
    assert report.notes == {"tool call left out of a message that says something too": 1}
    rows, _ = rows_of(tmp_path, [record], tools="text")
    assert said(rows[0])[1] == ("assistant", 'Let me look.\n{"name": "look", "arguments": {}}')


@pytest.mark.parametrize(
    "message, what",
    [
        ({"role": "gbt", "content": "Hi"}, "messages[1].role is 'gbt', no known speaker; did you mean gpt?"),
        ({"role": 7, "content": "Hi"}, "messages[1].role is the number 7"),
        ({"role": "assistant", "content": 7}, "messages[1].content is the number 7, not text"),
        ({"role": "assistant", "content": ["Hi"]}, "messages[1].content[0] is 'Hi', not an object"),
        ({"role": "assistant", "content": "Hi", "weight": 2}, "messages[1].weight is the number 2"),
        ({"role": "assistant", "tool_calls": "x"}, "messages[1].tool_calls is 'x', not a list"),
        ({"role": "assistant", "function_call": {"name": "f", "arguments": "{"}}, "arguments is no JSON"),
        ({"role": "assistant", "function_call": {}}, "a call without a name"),
        ("Hi", "messages[1] is 'Hi', not an object"),
    ],
)
def test_a_message_that_cannot_be_read_is_named(tmp_path: Path, message: Any, what: str) -> None:
    with pytest.raises(DataError) as caught:
        rows_of(tmp_path, [{"messages": [{"role": "user", "content": "Hi"}, message]}])
    assert what in caught.value.what
    assert caught.value.where == f"{tmp_path}/source.json:1 (record 1)"


def test_sharegpt_rows_are_read_with_their_system_turn(tmp_path: Path) -> None:
    rows, _ = copied(tmp_path, "sharegpt_torchtune_tiny.json")
    assert said(rows[0])[:2] == [
        ("system", "You are an AI assistant."),
        ("user", "What is the meaning of life?"),
    ]


def test_sharegpt_variants_are_read_and_their_dirt_is_counted(tmp_path: Path) -> None:
    dirty = [
        {"from": "gpt", "value": "I begin."},
        {"from": "Human", "value": "<b>Hi</b> <|im_start|>"},
        {"role": "bing", "content": "Hello"},
        {"from": "human", "value": ""},
        {"from": "human", "value": "A"},
        {"from": "human", "value": "B"},
        {"from": "bard", "value": "C", "weight": 1},
        {"from": "human", "value": "Bye"},
    ]
    rows, report = rows_of(tmp_path, [{"items": dirty, "system": "Be kind."}])
    assert said(rows[0]) == [
        ("system", "Be kind."),
        ("user", "<b>Hi</b> <|im_start|>"),
        ("assistant", "Hello"),
        ("user", "A\n\nB"),
        ("assistant", "C"),
    ]
    assert report.messages.dropped == {
        "before the first question": 1,
        "empty": 1,
        "after the last answer": 1,
    }
    check_books(report)


def test_sharegpt_tools_become_text_on_request(tmp_path: Path) -> None:
    turns = [
        {"from": "human", "value": "Weather?"},
        {"from": "function_call", "value": '{"name": "get", "arguments": {"city": "Oslo"}}'},
        {"from": "observation", "value": "-2"},
        {"from": "gpt", "value": "Cold."},
    ]
    record = {"conversations": turns, "tools": "[]"}
    assert said(rows_of(tmp_path, [record])[0][0]) == [("user", "Weather?"), ("assistant", "Cold.")]
    rows, _ = rows_of(tmp_path, [record], tools="text")
    assert [role for role, _ in said(rows[0])] == ["user", "assistant", "tool", "assistant"]


@pytest.mark.parametrize(
    "record, row",
    [
        ({"instruction": "Add", "input": "1 1", "output": "2"}, ("Add\n\n1 1", "2")),
        ({"instruction": "Add", "input": "", "output": "2"}, ("Add", "2")),
        ({"instruction": "Add", "input": None, "response": "2"}, ("Add", "2")),
        ({"instruction": "Add", "context": "1 1", "response": "2"}, ("Add\n\n1 1", "2")),
        ({"instruction": "Add", "system": "Be brief.", "output": "2"}, ("Be brief.\n\nAdd", "2")),
    ],
)
def test_alpaca_rows_are_prompt_and_completion(
    tmp_path: Path, record: dict[str, Any], row: tuple[str, str]
) -> None:
    rows, _ = rows_of(tmp_path, [record])
    assert [(each["prompt"], each["completion"]) for each in rows] == [row]


def test_alpaca_history_is_kept_in_messages(tmp_path: Path) -> None:
    record = {"instruction": "And 3?", "output": "5", "history": [["1+1?", "2"]]}
    rows, _ = rows_of(tmp_path, [record], form="messages")
    assert [text for _, text in said(rows[0])] == ["1+1?", "2", "And 3?", "5"]
    rows, report = rows_of(tmp_path, [record])
    assert rows == [{"prompt": "1+1?", "completion": "2"}]
    assert report.messages.dropped == {"later turn: prompt_completion holds one exchange": 2}


def test_every_instance_of_an_instruction_is_a_row(tmp_path: Path) -> None:
    instances = [
        {"input": "1 1", "output": "2"},
        {"input": "2 2", "output": ""},
        {"input": "", "output": "?"},
    ]
    rows, report = rows_of(tmp_path, [{"instruction": "Add", "instances": instances}])
    assert [row["completion"] for row in rows] == ["2", "?"]
    assert report.threads.dropped == {"no question with an answer": 1}
    check_books(report)


def tree() -> dict[str, Any]:
    def reply(text: str, role: str, *replies: Any, **more: Any) -> dict[str, Any]:
        return {"message_id": text, "text": text, "role": role, "replies": list(replies), **more}

    best = reply("best", "assistant", reply("more", "prompter", reply("end", "assistant")), rank=0)
    bad = reply("bad", "assistant", reply("x", "prompter", reply("y", "assistant")), rank=2, deleted=True)
    return {"prompt": reply("ask", "prompter", reply("second", "assistant", rank=1), best, bad)}


def test_of_a_tree_the_best_ranked_replies_are_the_row(tmp_path: Path) -> None:
    rows, report = rows_of(tmp_path, [tree()])
    assert [text for _, text in said(rows[0])] == ["ask", "best", "more", "end"]
    assert report.messages.dropped == {"on another branch": 3, "deleted": 1}
    rows, report = rows_of(tmp_path, [tree()], branches="all")
    assert [[text for _, text in said(row)] for row in rows] == [
        ["ask", "best", "more", "end"],
        ["ask", "second"],
    ]
    check_books(report)


def test_flat_messages_of_a_tree_are_put_together(tmp_path: Path) -> None:
    def flat(name: str, parent: str | None, role: str, **more: Any) -> dict[str, Any]:
        return {"message_id": name, "parent_id": parent, "text": name, "role": role, **more}

    records = [
        flat("ask", None, "prompter"),
        flat("second", "ask", "assistant", rank=1),
        flat("best", "ask", "assistant", rank=0),
        flat("other", None, "prompter"),
        flat("answer", "other", "assistant"),
        flat("orphan", "nowhere", "assistant"),
    ]
    rows, report = rows_of(tmp_path, records)
    assert [[text for _, text in said(row)] for row in rows] == [["ask", "best"], ["other", "answer"]]
    assert report.messages.came_in == 6
    assert report.conversations.dropped == {"no question with an answer": 1}
    check_books(report)


def test_a_deep_tree_is_read_without_recursion(tmp_path: Path) -> None:
    deep: dict[str, Any] = {"text": "end", "role": "assistant", "replies": []}
    for number in range(27):
        deep = {"text": f"{number}", "role": ("prompter", "assistant")[number % 2], "replies": [deep]}
    rows, _ = rows_of(tmp_path, [{"prompt": deep | {"role": "prompter"}}])
    assert len(rows[0]["messages"]) > 20


def test_questions_and_pairs_are_prompt_and_completion(tmp_path: Path) -> None:
    questions = [
        {"question": "Which?", "answer": "B", "choices": ["A", "B"]},
        {"question": "2?", "answer": 4},
    ]
    assert rows_of(tmp_path, questions)[0] == [
        {"prompt": "Which?\n- A\n- B", "completion": "B"},
        {"prompt": "2?", "completion": "4"},
    ]
    lists = {"prompt": [{"role": "user", "content": "Hi"}], "completion": "Hello"}
    assert rows_of(tmp_path, [lists])[0] == [{"prompt": "Hi", "completion": "Hello"}]
    assert rows_of(tmp_path, [lists], form="messages")[0] == [
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
    ]


def test_mt_bench_questions_without_a_reference_are_counted(tmp_path: Path) -> None:
    records = [
        {"question_id": 1, "turns": ["1+1?", "Double it."], "reference": ["2", "4"]},
        {"question_id": 2, "turns": ["1+1?", "Why?"], "reference": ["2", ""]},
        {"question_id": 3, "turns": ["Write a poem."]},
    ]
    rows, report = rows_of(tmp_path, records)
    assert [[text for _, text in said(row)] for row in rows] == [
        ["1+1?", "2", "Double it.", "4"],
        ["1+1?", "2"],
    ]
    assert report.conversations.dropped == {"no reference answer": 1}
    check_books(report)


def test_an_answer_of_weight_0_is_no_completion(tmp_path: Path) -> None:
    record = {
        "messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "5", "weight": 0}]
    }
    with pytest.raises(DataError) as caught:
        rows_of(tmp_path, [record], form="prompt_completion")
    assert any("weight 0" in problem for problem in caught.value.problems)
    rows, _ = rows_of(tmp_path, [record])
    assert rows[0]["messages"][1]["weight"] == 0
