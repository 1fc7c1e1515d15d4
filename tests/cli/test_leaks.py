"""`luthier data leaks` and `luthier data split` as a person types them."""

from pathlib import Path

import pytest

from luthier.cli.leaks_picture import pair_pieces
from luthier.reports.leaks import LeakPair
from tests.cli.workshop import luthier, write_rows

ASKED = "What did the king say to the queen when the long war was over at last?"
ROWS = [
    {"prompt": "Name a colour.", "completion": "red"},
    {"prompt": ASKED.upper(), "completion": "well done"},
    {"prompt": "Tell me.", "completion": f"They ask: {ASKED}"},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_rows(tmp_path / "train.jsonl", ROWS)
    write_rows(tmp_path / "exam.jsonl", [{"query": ASKED, "gold": 1}, {"query": "Another one?", "gold": 0}])
    return tmp_path


def test_pairs_stand_side_by_side_with_what_they_share_between_signs(folder: Path) -> None:
    done = luthier(folder, "data", "leaks", "train.jsonl", "--against", "exam.jsonl")
    assert done.code == 0, done.said
    assert "2 of 3 hold a question of the other set: 1 exact, 1 run" in done.out
    assert "1 of 2 are in the rows: 1 exact" in done.out
    assert "run, 15 words in a row" in done.out or "run, 16 words in a row" in done.out
    assert "[[What did the king" in done.out
    assert "They ask: [[What did the king" in done.out


def test_the_report_in_json_has_the_pairs(folder: Path) -> None:
    done = luthier(
        folder,
        "data",
        "leaks",
        "train.jsonl",
        "--against",
        "exam.jsonl",
        "--exact-only",
        "--show",
        "1",
        "--json",
    )
    assert done.json["counts"]["rows_leaking"] == 2
    [pair] = done.json["pairs"]
    assert (pair["row"], pair["against"], pair["kind"]) == ("train.jsonl:2", "exam.jsonl:1", "exact")


def test_a_file_on_both_sides_is_refused(folder: Path) -> None:
    done = luthier(folder, "data", "leaks", "train.jsonl", "--against", "./train.jsonl")
    assert done.code == 2
    assert "on both sides" in done.err


def test_a_broken_row_is_named(folder: Path) -> None:
    (folder / "train.jsonl").write_text('{"prompt": "a"\n')
    done = luthier(folder, "data", "leaks", "train.jsonl", "--against", "exam.jsonl")
    assert done.code == 3
    assert "train.jsonl:1" in done.err


def test_shared_words_are_coloured_and_texts_cannot_paint() -> None:
    pair = LeakPair(
        kind="near",
        row="a.jsonl:1",
        text="one two \x1b[31m three",
        against="b.jsonl:2",
        against_text="one two four",
        jaccard=0.8,
        run_words=None,
    )
    pieces = pair_pieces(pair, has_colour=True)
    assert ("one two", "\x1b[1;33m") in pieces
    assert all("\x1b" not in text for text, _ in pieces)


def test_a_split_says_what_each_side_got_and_what_to_type_next(folder: Path) -> None:
    rows = [{"prompt": f"number {n}", "completion": str(n)} for n in range(100)]
    write_rows(folder / "rows.jsonl", rows)
    done = luthier(folder, "data", "split", "rows.jsonl", "--out", "split")
    assert done.code == 0, done.said
    assert "100 with 100 different questions (case and signs aside); none is on two sides" in done.out
    assert "next        luthier data leaks split/train.jsonl --against split/test.jsonl" in done.out
    assert (folder / "split" / "train.jsonl").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "there is no folder for what is split"),
        (("--out", "o", "--validation", "0.5", "--test", "0.5"), "leave no row to train on"),
    ],
)
def test_a_split_that_cannot_be_is_refused(folder: Path, words: tuple[str, ...], told: str) -> None:
    done = luthier(folder, "data", "split", "train.jsonl", *words)
    assert done.code == 2
    assert told in done.err
