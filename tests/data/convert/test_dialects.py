"""Each dialect is recognised by what it holds; a record in none is told which one is closest and what it lacks."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from luthier.cli.data import Branches, DialectName, Keep, RowForm, Tools
from luthier.data.convert.dialects import DIALECTS, NAMES, fits_none, recognise
from luthier.floor.errors import DataError, UsageError
from luthier.text.dialects import turns
from tests.data.convert.converting import FORMATS, converted, rows_of, talk

CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
TURNS = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
RECORDS: list[tuple[dict[str, Any], str]] = [
    (talk("Hi", "Hello"), "chatgpt"),
    ({"message_tree_id": "1", "prompt": {"text": "Hi", "role": "prompter", "replies": []}}, "oasst"),
    ({"message_id": "1", "parent_id": None, "text": "Hi", "role": "prompter"}, "oasst"),
    ({"question_id": 81, "category": "math", "turns": ["1+1?"]}, "mt-bench"),
    ({"messages": CHAT}, "openai"),
    ({"messages": CHAT, "prompt": "Hi", "tools": []}, "openai"),
    ({"messages": TURNS}, "sharegpt"),
    ({"conversations": TURNS}, "sharegpt"),
    ({"conversation": CHAT, "system": "Be brief."}, "sharegpt"),
    ({"items": TURNS}, "sharegpt"),
    ({"instruction": "Add", "input": "1 1", "output": "2"}, "alpaca"),
    ({"instruction": "Add", "context": "1 1", "response": "2", "category": "math"}, "alpaca"),
    ({"instruction": "Add", "instances": [{"input": "", "output": "2"}]}, "alpaca"),
    ({"instruction": "Add", "output": "2", "text": "### Instruction: Add"}, "alpaca"),
    ({"prompt": "1+1?", "completion": "2"}, "prompt-completion"),
    ({"question": "1+1?", "answer": "2"}, "question-answer"),
    ({"input": "1+1?", "target": "2"}, "question-answer"),
    ({"text": "It is 2.", "url": "x"}, "text"),
]


@pytest.mark.parametrize("record, name", RECORDS)
def test_a_record_is_recognised(record: dict[str, Any], name: str) -> None:
    dialect = recognise(record)
    assert dialect is not None and dialect.name == name


def test_every_dialect_is_seen_above() -> None:
    assert {name for _, name in RECORDS} == set(NAMES)
    assert len(DIALECTS) >= 9


@pytest.mark.parametrize(
    "record, closest, lacks",
    [
        ({"instruction": "Add", "outptu": "2"}, "alpaca", "output"),
        ({"prompt": "1+1?"}, "prompt-completion", "completion"),
        ({"question": "1+1?"}, "question-answer", "answer"),
        ({"messages": [{"content": "Hi"}]}, "openai", "messages[0].role"),
        ({"conversations": "Hi"}, "sharegpt", "conversations (a list)"),
        ({"mapping": []}, "chatgpt", "mapping (an object of nodes)"),
        ({"question_id": 1}, "mt-bench", "turns"),
        ({"role": "prompter", "message_id": 1, "text_": "x"}, "oasst", "text"),
    ],
)
def test_a_record_in_no_dialect_is_told_what_it_lacks(
    record: dict[str, Any], closest: str, lacks: str
) -> None:
    assert recognise(record) is None
    what = fits_none(record).what
    assert f"{closest} is closest" in what and lacks in what


@pytest.mark.parametrize("record", [{}, {"price": 3}, {"uuid": "1", "chats": []}])
def test_a_record_like_nothing_known_is_told_what_is_known(record: dict[str, Any]) -> None:
    what = fits_none(record).what
    assert all(name in what for name in NAMES)
    assert all(name in what for name in record)


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "Hi", "chosen": "a", "rejected": "b"},
        {"input": {"messages": CHAT}, "preferred_output": CHAT, "non_preferred_output": CHAT},
    ],
)
def test_a_preference_pair_is_refused_by_name(tmp_path: Path, record: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="a better and a worse answer") as caught:
        rows_of(tmp_path, [record])
    assert (caught.value.code, caught.value.exit_code) == ("data-dialect", 3)


def test_records_of_two_dialects_are_refused_by_line(tmp_path: Path) -> None:
    source = tmp_path / "mixed.jsonl"
    records = [{"messages": CHAT}, {"instruction": "Add", "output": "2"}, {"price": 3}]
    source.write_text("\n".join(json.dumps(record) for record in records))
    with pytest.raises(DataError) as caught:
        converted(source)
    assert caught.value.where == f"{source}:2"
    assert len(caught.value.problems) == 2
    assert "is alpaca, and not openai as the rest" in caught.value.problems[0]
    assert not (tmp_path / "out" / "rows.jsonl").exists()
    rows, report = converted(source, skip_faulty=True)
    assert len(rows) == 1
    assert report.conversations.dropped == {"faulty: data-dialect": 2}


def test_a_dialect_can_be_named(tmp_path: Path) -> None:
    record = {"instruction": "Add", "output": "2", "text": "Add: 2"}
    assert rows_of(tmp_path, [record])[0] == [{"prompt": "Add", "completion": "2"}]
    assert rows_of(tmp_path, [record], dialect="text")[0] == [{"text": "Add: 2"}]


@pytest.mark.parametrize("wishes", [{"branches": "all"}, {"tools": "text"}, {"keep": frozenset({"hidden"})}])
def test_a_choice_that_means_nothing_for_the_dialect_is_refused(tmp_path: Path, wishes: Any) -> None:
    with pytest.raises(UsageError, match="means nothing for question-answer"):
        rows_of(tmp_path, [{"question": "1+1?", "answer": "2"}], **wishes)


def test_the_command_offers_what_the_stage_knows() -> None:
    assert tuple(DialectName) == NAMES
    assert tuple(Branches) == get_args(turns.Branches)
    assert tuple(Tools) == get_args(turns.Tools)
    assert tuple(Keep) == (turns.HIDDEN, turns.INSTRUCTIONS)
    assert {dialect.form for dialect in DIALECTS} == {*RowForm, "text"}


def test_the_fixtures_are_read() -> None:
    assert len(list(FORMATS.glob("*.json*"))) == 4
