"""Rows that another program tokenized are read to the token, and refused where they say two things at once."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.floor.errors import DataError
from luthier.text.problems import LineFault
from luthier.text.render import Renderer
from luthier.text.row import Tokens
from luthier.text.rows import read_rows
from luthier.text.shapes import guess_shape
from luthier.text.token_rows import ids_of
from tests.data.preparing import write_rows
from tests.tiny import make_tiny_tokenizer

ANSWERED = {"input_ids": [5, 6, 7, 8], "labels": [-100, -100, 7, 8]}


def read(record: dict[str, Any]) -> Tokens:
    row = guess_shape(record).row(record, "a:1")
    assert row.kind == "tokens" and row.tokens is not None
    return row.tokens


def parts(record: dict[str, Any]) -> tuple[list[int], list[int], int]:
    tokens = read(record)
    return ids_of(tokens.ids), list(tokens.learnt), tokens.padding


SAME = {
    "labels": ANSWERED,
    "axolotl": {**ANSWERED, "attention_mask": [1] * 4, "position_ids": [0, 1, 2, 3], "length": 4},
    "llama_factory": {**ANSWERED, "attention_mask": [1] * 4, "images": None, "videos": None, "audios": None},
    "trl_completion_mask": {"input_ids": [5, 6, 7, 8], "completion_mask": [0, 0, 1, 1]},
    "trl_assistant_masks": {"input_ids": [5, 6, 7, 8], "assistant_masks": [0, 0, 1, 1]},
    "loss_mask": {"input_ids": [5, 6, 7, 8], "loss_mask": [False, False, True, True]},
    "all_of_them_agree": {
        "input_ids": [5, 6, 7, 8],
        "labels": [5, -100, 7, 8],
        "completion_mask": [0, 1, 1, 1],
        "token_type_ids": [0] * 4,
    },
    "nulls": {**ANSWERED, "attention_mask": None, "loss_mask": None},
}


@pytest.mark.parametrize("name", SAME)
def test_what_every_trainer_leaves_behind_is_the_same_row(name: str) -> None:
    assert parts(SAME[name]) == ([5, 6, 7, 8], [0, 0, 1, 1], 0)


def test_without_labels_and_masks_all_is_learnt() -> None:
    assert parts({"input_ids": [5, 6]}) == ([5, 6], [1, 1], 0)


@pytest.mark.parametrize("left, right", [(0, 3), (2, 0), (2, 3), (0, 0)])
def test_padding_is_taken_off_both_ends_and_counted(left: int, right: int) -> None:
    record = {
        "input_ids": [0] * left + ANSWERED["input_ids"] + [0] * right,
        "labels": [-100] * left + ANSWERED["labels"] + [-100] * right,
        "attention_mask": [0] * left + [1] * 4 + [0] * right,
    }
    assert parts(record) == ([5, 6, 7, 8], [0, 0, 1, 1], left + right)
    assert parts({name: value for name, value in record.items() if name != "labels"})[2] == left + right


def test_a_row_of_padding_alone_holds_no_token() -> None:
    assert parts({"input_ids": [0, 0], "labels": [-100, -100], "attention_mask": [0, 0]}) == ([], [], 2)
    assert parts({"input_ids": []}) == ([], [], 0)


BAD = {
    "no list": ({"input_ids": "5 6"}, "'input_ids' is '5 6', not a list of whole numbers"),
    "null": ({"input_ids": None}, "'input_ids' is null"),
    "text inside": ({"input_ids": [5, "6"]}, "input_ids[1] is '6', not a whole number"),
    "a fraction": ({"input_ids": [5, 6.0]}, "input_ids[1] is the number 6.0, not a whole number"),
    "a truth": ({"input_ids": [True]}, "input_ids[0] is true"),
    "a batch": ({"input_ids": [[5, 6]]}, "input_ids[0] is a list of 2, not a whole number; a list in a list"),
    "negative": ({"input_ids": [5, -1]}, "input_ids[1] is -1, which is no token's id"),
    "huge": ({"input_ids": [2**32]}, "input_ids[0] is 4294967296, which is no token's id"),
    "beyond numbers": ({"input_ids": [10**30]}, "no such number"),
    "short labels": ({**ANSWERED, "labels": [-100]}, "'labels' has 1 numbers for 4 input_ids"),
    "other labels": (
        {**ANSWERED, "labels": [-100, -100, 7, 9]},
        "labels[3] is 9 and input_ids[3] is 8: a label is the id beside it, or -100",
    ),
    "shifted labels": ({**ANSWERED, "labels": [-100, 7, 8, -100]}, "shifted by one"),
    "short mask": ({**ANSWERED, "loss_mask": [1]}, "'loss_mask' has 1 numbers"),
    "a weight": ({**ANSWERED, "loss_mask": [0, 0, 1, 2]}, "loss_mask[3] is 2, neither 0 nor 1"),
    "a hole": ({**ANSWERED, "attention_mask": [1, 1, 0, 1]}, "attention_mask[2] is 0 between tokens"),
    "loss on padding": (
        {**ANSWERED, "attention_mask": [1, 1, 1, 0]},
        "token 3 carries loss, and attention_mask[3] is 0",
    ),
    "packed by numbers": ({**ANSWERED, "attention_mask": [1, 1, 2, 2]}, "attention_mask[2] is 2: several rows"),
    "packed by positions": ({**ANSWERED, "position_ids": [0, 1, 0, 1]}, "position_ids[2] is 0, and 1 stands before"),
    "packed by lengths": ({**ANSWERED, "seq_lengths": [2, 2]}, "seq_lengths tells of 2 rows"),
    "two shapes": ({**ANSWERED, "text": "x"}, "holds the fields of text and of tokens; say which to use"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_row_that_says_two_things_is_refused(name: str) -> None:
    record, said = BAD[name]
    with pytest.raises(LineFault) as caught:
        read(record)
    assert said in caught.value.what


def test_faults_name_file_and_line(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.jsonl", [ANSWERED, {"input_ids": [1], "labels": [2]}, {"input_ids": "x"}])
    with pytest.raises(DataError) as caught:
        list(read_rows([file], "auto"))
    assert [problem.split(": ")[0] for problem in caught.value.problems] == [f"{file}:2", f"{file}:3"]
    write_rows(file, [ANSWERED, {"text": "x"}])
    with pytest.raises(DataError, match="input_ids"):
        list(read_rows([file], "tokens"))


def test_fields_that_nothing_reads_are_counted(tmp_path: Path) -> None:
    unused: Counter[str] = Counter()
    file = write_rows(tmp_path / "a.jsonl", [SAME["axolotl"], {**ANSWERED, "token_type_ids": [0] * 4}])
    list(read_rows([file], "tokens", unused_fields=unused))
    assert unused == {"length": 1, "token_type_ids": 1}


def test_ids_beyond_the_vocabulary_are_refused_with_every_row(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.jsonl", [ANSWERED, {"input_ids": [5, 300]}, {"input_ids": [70_000]}])
    rows = list(read_rows([file], "auto"))
    with pytest.raises(DataError) as caught:
        Renderer(make_tiny_tokenizer(), template="guide").render_block(rows)
    assert list(caught.value.problems) == [
        f"{file}:2: the id 300 (token 1 of the row) is beyond the vocabulary of 300",
        f"{file}:3: the id 70000 (token 0 of the row) is beyond the vocabulary of 300",
    ]


@given(
    st.lists(st.tuples(st.integers(0, 299), st.booleans()), min_size=1),
    st.integers(0, 3),
    st.integers(0, 3),
)
def test_rendering_gives_back_what_was_written(row: list[tuple[int, bool]], left: int, right: int) -> None:
    ids, learnt = [each[0] for each in row], [each[1] for each in row]
    labels = [id if flag else -100 for id, flag in row]
    record = {
        "input_ids": [299] * left + ids + [299] * right,
        "labels": [-100] * left + labels + [-100] * right,
        "attention_mask": [0] * left + [1] * len(ids) + [0] * right,
    }
    made = guess_shape(record).row(record, "a:1")
    rendered = Renderer(make_tiny_tokenizer(), template="guide").render(made)
    assert rendered.ids == ids
    assert rendered.trained == [False, *learnt[1:]]


def test_what_is_asked_ends_where_learning_begins() -> None:
    assert np.frombuffer(read(ANSWERED).asked, dtype=np.uint32).tolist() == [5, 6]
    for all_learnt in ({"input_ids": [5, 6, 7]}, {"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}):
        assert np.frombuffer(read(all_learnt).asked, dtype=np.uint32).tolist() == [5, 6, 7]
