"""`--columns` on the commands that read files: the names that data.columns takes, and tables without a header."""

import json
from pathlib import Path

import pytest

from tests.cli.workshop import luthier, write_rows

NAMED = ("--columns", "prompt=column_1", "--columns", "completion=column_2")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "log.tsv").write_text("Where is it?\there\nWho is it?\tme\nWhere is it?\there\n")
    return tmp_path


def test_a_table_without_a_header_is_converted_row_for_row(folder: Path) -> None:
    done = luthier(folder, "data", "convert", "log.tsv", *NAMED, "--out", "rows.jsonl")
    assert done.code == 0, done.said
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    assert rows[0] == {"prompt": "Where is it?", "completion": "here"}
    assert len(rows) == 3


def test_columns_that_make_no_row_are_counted_by_a_conversion(folder: Path) -> None:
    write_rows(
        folder / "in.jsonl", [{"subject": "S", "body": "B", "reply": "R", "id": 1, "prompt": "not this"}]
    )
    named = ("--columns", "prompt=subject", "--columns", "prompt=body", "--columns", "completion=reply")
    done = luthier(folder, "data", "convert", "in.jsonl", *named, "--out", "rows.jsonl", "--json")
    assert json.loads((folder / "rows.jsonl").read_text()) == {"prompt": "S\n\nB", "completion": "R"}
    assert done.json["notes"] == {
        "'id' is a field that no row has": 1,
        "'prompt' is a field that no row has": 1,
    }
    assert done.json["options"]["columns"] == {"prompt": ["subject", "body"], "completion": ["reply"]}


def test_the_check_sees_the_rows_and_tells_of_a_column_that_is_not_there(folder: Path) -> None:
    done = luthier(folder, "data", "check", "log.tsv", *NAMED)
    assert done.code == 0, done.said
    assert "log.tsv:3: warning: the same as log.tsv:1" in done.out
    assert "--fix --out" not in done.out, "a copy of these columns would lose the others"
    done = luthier(folder, "data", "check", "log.tsv", "--columns", "prompt=a", "--columns", "completion=b")
    assert done.code == 1
    assert "lacks the column 'a'; it has: Where is it?, here" in done.out
    done = luthier(folder, "data", "check", "log.tsv", *NAMED, "--fix", "--out", "out")
    assert done.code == 2
    assert "luthier data convert log.tsv --columns FIELD=NAME" in done.err


def test_a_recipe_s_columns_are_those_of_its_check(folder: Path) -> None:
    (folder / "mine.yaml").write_text(
        "model_name: ./nowhere\ndata: {path: log.tsv, columns: {prompt: column_1, completion: column_2}}\n"
    )
    done = luthier(folder, "data", "check", "--recipe", "mine.yaml", "--json")
    assert done.json["rows"] == 3
    assert done.json["counts"] == {"duplicate": 1, "guide-duplicates": 1}


def test_repeats_splits_and_leaks_go_by_the_columns(folder: Path) -> None:
    write_rows(folder / "exam.jsonl", [{"prompt": "who is it", "completion": "?"}])
    done = luthier(folder, "data", "dedup", "log.tsv", *NAMED, "--json")
    assert (done.json["rows_kept"], done.json["dropped"]) == (2, {"exact": 1})
    assert done.json["out"] == "outputs/dedup/log.jsonl"
    assert luthier(folder, "data", "split", "log.tsv", *NAMED, "--dry-run", "--json").json["keys"] == 2
    done = luthier(folder, "data", "leaks", "log.tsv", *NAMED, "--against", "exam.jsonl", "--json")
    assert done.json["counts"]["kinds"] == {"folded": 1}


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("prompt", "is not FIELD=NAME"),
        ("question=a", "a FIELD of prompt, completion, messages, text"),
        ("text=", "is not FIELD=NAME"),
        ("prompt=a", "prompt and completion go together"),
    ],
)
def test_what_names_no_column_is_refused(folder: Path, word: str, told: str) -> None:
    done = luthier(folder, "data", "split", "log.tsv", "--columns", word, "--dry-run")
    assert done.code == 2
    assert told in done.err
