"""Whatever stands where a field should be: a record is read, left out with its reason, or refused with a place. Never a crash."""

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luthier.data.convert.stage import Request, convert
from luthier.floor.errors import DataError
from luthier.text.dialects.turns import Choices
from tests.data.convert.converting import FORMATS, check_books
from tests.data.convert.test_dialect_readers import tree

pytestmark = pytest.mark.slow

CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
SEEDS: dict[str, list[Any]] = {
    "chatgpt": json.loads((FORMATS / "chatgpt_export_synthetic.json").read_text()),
    "openai": [
        json.loads(line)
        for line in (FORMATS / "openai_chat_finetune_examples.jsonl").read_text().splitlines()
    ],
    "sharegpt": [
        {
            "conversations": [
                {"from": "human", "value": "Hi"},
                {"from": "function_call", "value": '{"name": "f", "arguments": {}}'},
                {"from": "observation", "value": "1"},
                {"from": "gpt", "value": "Hello", "weight": 1},
            ],
            "system": "Be kind.",
        }
    ],
    "alpaca": [
        {"instruction": "Add", "input": "1", "output": "2", "history": [["a", "b"]], "system": "x"},
        {"instruction": "Add", "instances": [{"input": "1", "output": "2"}]},
    ],
    "oasst": [tree()],
    "mt-bench": [{"question_id": 1, "turns": ["a", "b"], "reference": ["c", "d"]}],
    "prompt-completion": [{"prompt": "a", "completion": "b"}, {"prompt": [{"role": "user", "content": "a"}], "completion": "b"}],
    "question-answer": [{"question": "a", "answer": "b", "choices": ["b", "c"]}],
    "text": [{"text": "a"}],
}  # fmt: skip
JUNK = (
    None,
    True,
    0,
    -1,
    1.5,
    1e400,
    "",
    "x",
    "\ud800",
    [],
    [[]],
    [None],
    {},
    {"a": {}},
    [{"role": 1}],
    "user",
    10**30,
)


def spoil(value: Any, at: random.Random) -> Any:
    """The value with one thing in it replaced, taken away or doubled."""
    value = copy.deepcopy(value)
    place, parents = value, []
    while isinstance(place, (dict, list)) and place and at.random() < 0.85:
        key = at.choice(list(place) if isinstance(place, dict) else range(len(place)))
        parents.append((place, key))
        place = place[key]
    if not parents:
        return value
    parent, key = parents[-1]
    if at.random() < 0.3:
        del parent[key]
    else:
        parent[key] = at.choice(JUNK)
    return value


@pytest.mark.parametrize("name", SEEDS)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(number=st.integers(0, 10**9), tools=st.sampled_from(["drop", "text"]), is_all=st.booleans())
def test_a_spoilt_record_never_crashes_the_reader(
    tmp_path_factory: pytest.TempPathFactory, name: str, number: int, tools: Any, is_all: bool
) -> None:
    at = random.Random(number)
    records = list(SEEDS[name])
    for _ in range(at.randint(1, 3)):
        records = [spoil(record, at) for record in records]
    folder = tmp_path_factory.getbasetemp() / "spoilt"
    folder.mkdir(exist_ok=True)
    source = folder / f"{name}.json"
    source.write_text(json.dumps(records).replace("Infinity", "1e400"))
    takes_tools = name in ("chatgpt", "openai", "sharegpt", "prompt-completion")
    choices = Choices(
        branches="all" if is_all and name in ("chatgpt", "oasst") else "current",
        tools=tools if takes_tools else "drop",
    )
    request = Request(source, folder / "rows.jsonl", dialect=name, choices=choices, overwrite=True)
    try:
        check_books(convert(request))
    except DataError as fault:
        assert fault.code in ("data-field", "data-dialect", "data-empty", "data-json"), fault.render()
        assert str(source) in fault.where


@pytest.mark.parametrize("name", SEEDS)
def test_every_seed_is_read_before_it_is_spoilt(tmp_path: Path, name: str) -> None:
    source = tmp_path / "source.json"
    source.write_text(json.dumps(SEEDS[name]))
    report = convert(Request(source, tmp_path / "rows.jsonl"))
    assert report.dialect == name
    check_books(report)
