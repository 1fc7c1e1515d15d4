"""`luthier data dedup` as a person types it."""

import json
from pathlib import Path

import pytest

from luthier.cli.app import run_command
from tests.data.dedup.planting import changed, sentence, write_rows

A, B = sentence(1), sentence(2)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "train.jsonl", [{"text": text} for text in (A, B, A, changed(B, 1))])
    write_rows(tmp_path / "test.jsonl", [{"text": changed(A, 2)}])
    return tmp_path


def test_the_kept_rows_go_to_outputs_unless_a_file_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["data", "dedup", "train.jsonl"]) == 0
    shown = capsys.readouterr().out
    assert "rows       4 in = 2 kept + 1 exact + 1 near" in shown
    assert "kept       outputs/dedup/train.jsonl" in shown
    kept = (folder / "outputs" / "dedup" / "train.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in kept] == [A, B]
    assert run_command(["data", "dedup", "train.jsonl"]) == 2
    assert run_command(["data", "dedup", "train.jsonl", "--overwrite"]) == 0


def test_json_is_the_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["data", "dedup", "train.jsonl", "--json", "--threshold", "0.9"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["rows_in"], report["rows_kept"], report["dropped"]) == (4, 3, {"exact": 1})
    assert report["threshold"] == 0.9


def test_a_dry_run_writes_nothing_and_shows_what_it_would_drop(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["data", "dedup", "train.jsonl", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "cluster    train.jsonl:1 stays for 1 other" in shown
    assert "near, Jaccard 0.854; the left one stays" in shown
    assert "Nothing was written" in shown
    assert not (folder / "outputs").exists()


def test_leaking_pairs_are_shown_side_by_side(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data", "dedup", "train.jsonl", "--against", "test.jsonl", "--show", "50", "--dry-run"]
    assert run_command(words) == 0
    shown = capsys.readouterr().out
    assert "1 near + 2 against-near" in shown
    heads = [line.split(" | ") for line in shown.splitlines() if line.startswith("test.jsonl:1 ")]
    assert [right for _, right in heads] == ["train.jsonl:1", "train.jsonl:3"]
    assert "near, Jaccard 0.854; the left one stays" in shown
    assert shown.count("the left one stays") == 2, "with --against only what leaks is shown"


def test_a_copy_of_a_row_that_went_says_through_which(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows(folder / "twins.jsonl", [{"text": text} for text in (A, changed(A, 1), changed(A, 1))])
    assert run_command(["data", "dedup", "twins.jsonl", "--show", "50", "--dry-run"]) == 0
    assert "exact, Jaccard 0.854, through twins.jsonl:2; the left one stays" in capsys.readouterr().out


def test_a_row_that_is_near_a_dropped_row_alone_stays(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = changed(A, 1)
    write_rows(folder / "chain.jsonl", [{"text": text} for text in (A, one, changed(one, 2))])
    assert run_command(["data", "dedup", "chain.jsonl", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "3 in = 2 kept + 1 near" in shown
    assert "chain.jsonl:1 stays for 1 other:" in shown


def test_several_sources_need_a_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["data", "dedup", "train.jsonl", "test.jsonl"]) == 2
    assert "--out outputs/dedup/train.jsonl" in capsys.readouterr().err
    assert run_command(["data", "dedup", "train.jsonl", "test.jsonl", "--out", "all.jsonl"]) == 0
    assert len((folder / "all.jsonl").read_text().splitlines()) == 2


def test_control_characters_of_a_row_do_not_reach_the_terminal(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows(folder / "bad.jsonl", [{"text": "\x1b[2J" + A}, {"text": "\x1b[2J" + A}])
    assert run_command(["data", "dedup", "bad.jsonl", "--dry-run"]) == 0
    assert "\x1b" not in capsys.readouterr().out
