"""Whatever a file holds, a check ends with findings that have a place, and a repair with books that balance."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.check.stage import CheckTask, check
from luthier.floor.errors import DataError
from tests.data.check.planting import ANSWER, GOOD, TOOL, USER, call, chat, tool, write
from tests.data.check.test_fix import repair

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
NAMES = st.sampled_from(
    [
        "prompt",
        "completion",
        "messages",
        "text",
        "tools",
        "functions",
        "conversations",
        "items",
        "system",
        "instruction",
        "input",
        "output",
        "history",
        "question",
        "answer",
        "choices",
        "chosen",
        "rejected",
        "preferred_output",
        "label",
        "non_preferred_output",
        "mapping",
        "replies",
        "role",
        "turns",
        "question_id",
        "instances",
        "message_id",
        "weight",
    ]
)
PARTS = st.sampled_from(
    [USER, ANSWER, call(), tool(), call('"{}"'), {"from": "human", "value": "x"}, {"role": "user"}]
)
TURNS = st.dictionaries(
    st.sampled_from(["role", "content", "from", "value", "tool_calls", "function_call", "tool_call_id", "weight", "name"]),
    VALUES | st.sampled_from(["user", "assistant", "tool", "function", "gpt", "function_call", [{"id": "a", "function": {}}]]),
    max_size=4,
)  # fmt: skip
ROWS = st.dictionaries(NAMES, VALUES | st.lists(PARTS | TURNS, max_size=4) | st.just([TOOL]), max_size=4)
WHOLE = b"".join(
    json.dumps(row, ensure_ascii=False).encode() + b"\n"
    for row in (GOOD, chat(USER, call(), tool(), ANSWER, tools=[TOOL]), {"text": "größer als ‘das’"})
)


@pytest.mark.slow
@settings(max_examples=150)
@given(st.lists(ROWS, min_size=1, max_size=5))
def test_any_json_is_judged_without_a_fault_of_ours_and_repaired_with_books_that_balance(
    rows: list[Any],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = write(Path(name) / "rows.jsonl", rows)
        with check(CheckTask((path,))) as found:
            assert found.rows == len(rows)
            assert all(
                1 <= each.line <= len(rows) and each.message and each.fix for each in found.store.by_place()
            )
        repair(Path(name) / "out", path)


@pytest.mark.slow
@settings(max_examples=150)
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=6), st.integers(0, len(WHOLE)), st.sampled_from(["jsonl", "json", "csv", "txt"]))  # fmt: skip
def test_spoilt_and_cut_files_are_findings_or_refused_with_a_place(
    spoilt: list[tuple[int, int]], length: int, ending: str
) -> None:
    content = bytearray(WHOLE)
    for at, byte in spoilt:
        content[at] = byte
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / f"rows.{ending}"
        path.write_bytes(bytes(content[:length]))
        try:
            with check(CheckTask((path,))) as found:
                assert all(each.line >= 1 for each in found.store.by_place())
        except DataError as fault:
            assert str(path) in fault.where
