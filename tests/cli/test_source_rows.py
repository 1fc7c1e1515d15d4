"""Rows of any format are shown as their file has them, and a mixture is told as a table."""

import gzip
import json
from pathlib import Path

import pytest

from luthier.cli.row_facts import read_raw
from luthier.cli.source_table import source_lines
from luthier.reports.data import SourceCounts

ROW = {"prompt": "caf\u00e9", "completion": "c"}


@pytest.mark.parametrize(
    ("name", "content", "line", "place", "expected"),
    [
        ("a.jsonl", b'{"prompt":  "p"}\n', 1, ":1", '{"prompt":  "p"}'),
        (
            "a.jsonl.gz",
            gzip.compress(json.dumps(ROW).encode(), mtime=0),
            1,
            ":1",
            json.dumps(ROW, ensure_ascii=False),
        ),
        (
            "a.csv",
            'prompt,completion\n"x\ny",z\ncaf\u00e9,c\n'.encode(),
            4,
            ":4",
            json.dumps(ROW, ensure_ascii=False),
        ),
        ("a.json", json.dumps([{}, ROW]).encode(), 2, "#row 2", json.dumps(ROW, ensure_ascii=False)),
        ("a.json", b"[{}", 7, "#row 7", None),
    ],
)
def test_a_row_is_read_again_from_its_file(
    tmp_path: Path, name: str, content: bytes, line: int, place: str, expected: str | None
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert read_raw(path, line, f"{path}{place}") == expected


def test_the_first_line_of_a_table_without_a_header_is_a_row(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("a\tb\n")
    assert (
        read_raw(tmp_path / "t.tsv", 1, f"{tmp_path}/t.tsv:1", by_position=True)
        == '{"column_1": "a", "column_2": "b"}'
    )


def counts(weight: float, **more: int) -> SourceCounts:
    numbers = {
        "files": 1,
        "rows_in": 10,
        "rows_not_drawn": 0,
        "rows_repeated": 0,
        "train_rows": 10,
        "train_tokens": 1000,
        "train_trained_tokens": 5,
    }
    return SourceCounts(weight=weight, token_share=0.5, **(numbers | more))


def test_a_mixture_is_a_table() -> None:
    table = source_lines({"ours": counts(2, rows_repeated=10), "a" * 60: counts(0.25, rows_not_drawn=7)})
    assert table[0].split() == [
        "source",
        "weight",
        "read",
        "not",
        "drawn",
        "repeated",
        "in",
        "training",
        "tokens",
        "share",
    ]
    assert table[1].split() == ["ours", "2", "10", "0", "10", "10", "1,000", "50.0%"]
    assert table[2].startswith("..." + "a" * 37 + "  ")
    assert len({len(line) for line in table}) == 1


def test_one_source_that_is_seen_once_needs_no_table() -> None:
    assert source_lines({"data": counts(1)}) == []
    assert source_lines({"data": counts(2)}) != []
