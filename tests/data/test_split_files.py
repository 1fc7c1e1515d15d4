"""Splitting files is a partition, byte for byte, and stays as it is when rows are added."""

import json
import os
import shutil
import signal
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.config.data import ColumnsConfig
from luthier.data.check.stage import CheckTask, check
from luthier.data.split_files import REPORT, SplitTask, split_files
from luthier.floor.errors import DataError, Interrupted, UsageError
from luthier.floor.stop import StopFlag
from luthier.reports.split import SplitReport
from luthier.text.columns import named_columns
from tests.data.files_of_rows import write_as

SIDES = ("train", "validation", "test")


def split(source: Path, out: Path | None, **more: Any) -> SplitReport:
    shares = more.pop("shares", {"validation": 0.2, "test": 0.3})
    return split_files(SplitTask((source,), shares, more.pop("seed", 7), out=out, **more))


def lines_of(folder: Path) -> dict[str, list[bytes]]:
    files = {side: folder / f"{side}.jsonl" for side in SIDES}
    return {
        side: file.read_bytes().splitlines(keepends=True) if file.exists() else []
        for side, file in files.items()
    }


def write(path: Path, rows: list[dict[str, str]], *, end: str = "\n") -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows) + end, encoding="utf-8")
    return path


some_rows = st.lists(
    st.fixed_dictionaries({"prompt": st.sampled_from("abcdefgh"), "completion": st.text(max_size=3)}),
    min_size=1,
    max_size=40,
)


@settings(max_examples=40)
@given(some_rows, st.integers(0, 9), st.sampled_from(["", "\n", "\n\n"]))
def test_a_split_is_a_partition_in_order_and_no_question_is_on_two_sides(
    rows: list[dict[str, str]], seed: int, end: str
) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        source = write(folder / "in.jsonl", rows, end=end)
        report = split(source, folder / "out", seed=seed)
        found = lines_of(folder / "out")
        lines = [line + b"\n" for line in source.read_bytes().split(b"\n") if line.strip()]
        assert Counter(line for side in found.values() for line in side) == Counter(lines)
        for side in found.values():
            places = iter(lines)
            assert all(line in places for line in side), "the order stays"
        prompts = [{json.loads(line)["prompt"] for line in side} for side in found.values()]
        assert sum(map(len, prompts)) == len(set.union(*prompts))
        assert {name: side.rows for name, side in report.sides.items()} == {
            name: len(side) for name, side in found.items()
        }
        assert report.rows_in == len(rows)
    finally:
        shutil.rmtree(folder)


def test_rows_that_are_added_change_no_side(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{number}", "completion": "a"} for number in range(300)]
    split(write(tmp_path / "few.jsonl", rows[100:]), tmp_path / "few")
    split(write(tmp_path / "all.jsonl", rows), tmp_path / "all")
    few, everything = lines_of(tmp_path / "few"), lines_of(tmp_path / "all")
    assert all(set(few[side]) <= set(everything[side]) for side in SIDES)


def test_groups_and_strata_come_from_any_field(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"q{n}", "completion": "a", "who": f"w{n % 30}", "topic": "xy"[n % 2]} for n in range(600)
    ]
    source = write(tmp_path / "in.jsonl", rows)
    report = split(source, tmp_path / "grouped", group_by="who")
    who = [{json.loads(line)["who"] for line in side} for side in lines_of(tmp_path / "grouped").values()]
    assert sum(map(len, who)) == report.keys == 30
    report = split(source, tmp_path / "stratified", stratify_by="topic")
    assert report.strata == {name: {"train": 150, "validation": 60, "test": 90} for name in "xy"}


def test_the_report_is_written_last_and_says_where_everything_lies(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [{"text": f"row {n}"} for n in range(50)])
    report = split(source, tmp_path / "out")
    assert SplitReport.read(tmp_path / "out" / REPORT) == report
    assert report.sides["train"].file == str(tmp_path / "out" / "train.jsonl")
    assert sorted(os.listdir(tmp_path / "out")) == [REPORT, "test.jsonl", "train.jsonl", "validation.jsonl"]


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [{"text": f"row {n}"} for n in range(50)])
    assert split(source, None).rows_in == 50
    assert os.listdir(tmp_path) == ["in.jsonl"]


def test_files_that_are_there_stay_unless_asked_and_a_source_always(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [{"text": f"row {n}"} for n in range(50)])
    split(source, tmp_path / "out")
    with pytest.raises(UsageError, match="is there already"):
        split(source, tmp_path / "out")
    split(source, tmp_path / "out", overwrite=True)
    with pytest.raises(UsageError, match="is read and would be written over"):
        split(tmp_path / "out" / "train.jsonl", tmp_path / "out", overwrite=True)


def test_a_faulty_line_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "a"}\n{"text": \n{"text": "c"}\n')
    with pytest.raises(DataError) as caught:
        split(source, tmp_path / "out")
    assert caught.value.where == f"{source}:2"
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.parametrize("ending", ["csv", "json", "jsonl.gz", "parquet"])
def test_rows_of_any_format_go_where_their_lines_would_with_all_their_fields(
    tmp_path: Path, ending: str
) -> None:
    rows = [{"prompt": f"q, {n}", "completion": "a\nb", "id": str(n)} for n in range(60)]
    split(write(tmp_path / "in.jsonl", rows), tmp_path / "lines")
    report = split(write_as(tmp_path / f"in.{ending}", rows), tmp_path / "out")
    assert report.rows_in == 60
    for side in SIDES:
        both = [(tmp_path / name / f"{side}.jsonl").read_text().splitlines() for name in ("lines", "out")]
        assert list(map(json.loads, both[0])) == list(map(json.loads, both[1]))


def test_named_columns_decide_and_every_field_stays(tmp_path: Path) -> None:
    (tmp_path / "in.tsv").write_text("".join(f"{n}\tWhat is {n // 2}?\tyes {n}\n" for n in range(40)))
    columns = named_columns(ColumnsConfig(prompt="column_2", completion="column_3"))
    report = split(tmp_path / "in.tsv", tmp_path / "out", columns=columns)
    assert (report.rows_in, report.keys) == (40, 20), "the first line is a row, not a header"
    lines = [json.loads(line) for lines in lines_of(tmp_path / "out").values() for line in lines]
    assert sorted(int(line["column_1"]) for line in lines) == list(range(40))


def test_what_is_split_has_no_leak_for_the_check_to_find(tmp_path: Path) -> None:
    rows = [
        {"prompt": prompt, "completion": str(number)}
        for number in range(200)
        for prompt in (f"What is {number}", f"what is {number}?")
    ]
    source = write(tmp_path / "in.jsonl", rows)
    split(source, tmp_path / "out")
    with check(CheckTask((tmp_path / "out",))) as checked:
        assert "leak" not in checked.store.counts


def test_the_folder_of_a_split_is_no_file(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [{"prompt": "a", "completion": "b"}])
    with pytest.raises(UsageError, match="is no folder"):
        split(source, source)


def test_the_first_pass_over_the_rows_can_be_stopped(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [{"prompt": "a", "completion": "b"}])
    stop = StopFlag()
    stop.set(signal.SIGINT)
    task = SplitTask((source,), {"validation": 0.5}, 1, stratify_by="completion")
    with pytest.raises(Interrupted):
        split_files(task, stop=stop)


def test_questions_with_other_choices_or_under_other_instructions_split_as_the_check_sees_them(
    tmp_path: Path,
) -> None:
    said = "Which of these is an animal that sleeps through the winter?"
    rows: list[dict[str, Any]] = [
        {"question": said, "answer": f"animal {at}", "choices": [f"animal {at}", f"stone {at}"]}
        for at in range(60)
    ]
    talks: list[dict[str, Any]] = [
        {
            "messages": [
                {"role": "system", "content": f"You are helper {at}."},
                {"role": "user", "content": f"Question {at % 10}"},
                {"role": "assistant", "content": f"Answer {at}"},
            ]
        }
        for at in range(60)
    ]
    for name, written in (("trivia", rows), ("talks", talks)):
        split(write(tmp_path / f"{name}.jsonl", written), tmp_path / name)
        sides = tuple(tmp_path / name / f"{side}.jsonl" for side in SIDES)
        assert all(side.exists() for side in sides[::2])
        with check(CheckTask(sides)) as checked:
            assert "leak" not in checked.store.counts
