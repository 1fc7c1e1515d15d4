"""Rows that are tokenized on the fly, at the command line: what can be shown is shown, what cannot be known is said to be so."""

import json
from pathlib import Path

import pytest

from tests.cli.workshop import luthier, question_rows, write_rows

pytestmark = pytest.mark.slow

RECIPE = """model: {name: ./base, device: cpu}
data: {path: rows.jsonl, validation_fraction: 0, max_length: 64, overlong: drop}
train: {batch_size: 3, gradient_accumulation_steps: 2, seed: 5, epochs: 1, log: {logging_steps: 1, trackers: []}}
"""
LONG = {"prompt": "long " * 60, "completion": "yes"}
FLY = "data.tokenization=on_the_fly"


@pytest.fixture
def folder(tmp_path: Path, tiny_base: Path) -> Path:
    (tmp_path / "base").symlink_to(tiny_base)
    (tmp_path / "mine.yaml").write_text(RECIPE)
    write_rows(tmp_path / "rows.jsonl", question_rows(20))
    return tmp_path


@pytest.mark.parametrize("choice", [["--step", "2", "--tokens"], ["--row", "7"], ["--sample", "3"]])
def test_rows_and_steps_look_like_those_of_cached_tokens(folder: Path, choice: list[str]) -> None:
    cached, fly = (
        luthier(folder, "data", "show", "mine", *choice, "--json", *words).json for words in ([], [FLY])
    )
    differing = {key for key in cached if cached[key] != fly[key]}
    assert differing == {"store", "tokens", "trained_tokens", "fingerprint"}
    assert fly["tokens"] is None, "nobody has counted them"


def test_without_a_choice_the_longest_text_stands_for_the_longest_row(folder: Path) -> None:
    write_rows(folder / "rows.jsonl", [*question_rows(5), LONG])
    out = luthier(folder, "data", "show", "mine", FLY, "data.max_length=400").out
    assert "row 5, the longest text" in out


def test_a_row_that_training_will_leave_out_is_named_as_such(folder: Path) -> None:
    write_rows(folder / "rows.jsonl", [*question_rows(5), LONG])
    done = luthier(folder, "data", "show", "mine", "--row", "5", FLY)
    assert done.code == 2
    assert "nothing of rows.jsonl:6 is left to learn from" in done.said
    shown = luthier(folder, "data", "show", "mine", "--sample", "9", "--json", FLY).json
    assert sorted(row["row"] for row in shown["rows"]) == [0, 1, 2, 3, 4]


def test_the_report_asks_for_tokens_before_anything_is_prepared(folder: Path) -> None:
    done = luthier(folder, "data", "report", "mine", FLY)
    assert done.code == 2
    assert "data.tokenization=cached" in done.said
    assert not (folder / "outputs/cache").exists()


def test_the_books_of_a_training_are_on_its_screen(folder: Path) -> None:
    write_rows(folder / "rows.jsonl", [*question_rows(20), LONG])
    prepared = luthier(folder, "prepare", "mine", "--run", "run", FLY)
    assert "texts in    outputs/cache" in prepared.out
    assert "21 rows, tokenized as training reaches them" in prepared.out
    done = luthier(folder, "train", "--run", "run")
    assert done.code == 0, done.said
    assert "fitted (train)" in done.out
    assert "1 row: longer than max_length" in done.out
    dropped = [json.loads(line) for line in (folder / "run/train/dropped.jsonl").read_text().splitlines()]
    assert [entry["origin"] for entry in dropped] == ["rows.jsonl:21"]


def test_steps_by_tokens_need_their_number(folder: Path) -> None:
    (folder / "mine.yaml").write_text(
        RECIPE.replace("batch_size: 3, gradient_accumulation_steps: 2", "tokens_per_step: 256")
    )
    done = luthier(folder, "train", "mine", FLY)
    assert done.code == 2
    assert "train.most_steps=1000" in done.said
    assert luthier(folder, "data", "show", "mine", "--step", "1", FLY, "train.most_steps=2").code == 0
