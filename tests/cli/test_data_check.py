"""`luthier data check` as a person types it."""

import json
import re
from pathlib import Path

import pytest

from luthier.cli.app import run_command
from luthier.reports.check import CheckReport
from tests.data.check.planting import GOOD, pair, write

PLACE = re.compile(r"rows\.jsonl:(\d+): (error|warning|note): .+: .+ \[([a-z-]+)\]")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "rows.jsonl", [GOOD, b"{", pair("x\u200b", "y"), GOOD, pair("q", "")])
    write(tmp_path / "clean.jsonl", [GOOD, pair()])
    return tmp_path


def test_every_finding_is_a_line_with_place_severity_reason_and_remedy(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["data", "check", "rows.jsonl"]) == 1
    shown = capsys.readouterr().out
    found = [PLACE.fullmatch(line) for line in shown.splitlines() if line.startswith("rows.jsonl:")]
    assert [(int(each[1]), each[2], each[3]) for each in found if each] == [
        (2, "error", "broken-json"),
        (5, "error", "empty-answer"),
        (3, "warning", "invisible-characters"),
        (4, "warning", "duplicate"),
        (4, "warning", "guide-duplicates"),
    ]
    assert all(found)
    assert re.search(
        r"^duplicate +warning +1  rows that are there already +drops the row$", shown, re.MULTILINE
    )
    assert "2 errors, 3 warnings, 0 notes in 5 rows of rows.jsonl" in shown
    assert "lengths were not measured; to measure them: --tokenizer NAME" in shown
    assert "--fix --out outputs/checked" in shown


def test_clean_rows_end_with_0_and_say_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["data", "check", "clean.jsonl"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "no faults in 2 rows of clean.jsonl"


def test_json_is_one_object_of_rows_findings_and_counts(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["data", "check", "rows.jsonl", "--json"]) == 1
    out = capsys.readouterr().out
    assert set(json.loads(out)) == {"rows", "findings", "counts"}
    report = CheckReport.model_validate_json(out)
    assert report.rows == 5
    assert [(each.line, each.kind) for each in report.findings] == [
        (2, "broken-json"),
        (3, "invisible-characters"),
        (4, "duplicate"),
        (4, "guide-duplicates"),
        (5, "empty-answer"),
    ]
    assert set(report.findings[0].model_dump()) == {"file", "line", "kind", "severity", "message", "fix"}
    assert report.counts == {each.kind: 1 for each in report.findings}
    assert run_command(["data", "check", "clean.jsonl", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"rows": 2, "findings": [], "counts": {}}


def test_many_findings_of_a_kind_are_cut_on_the_screen_and_whole_in_json(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder / "many.jsonl", [b"{"] * 2500)
    assert run_command(["data", "check", "many.jsonl"]) == 1
    shown = capsys.readouterr().out
    assert shown.count("[broken-json]") == 10
    assert "... and 2,490 more errors of broken-json; all of them: --json" in shown
    assert run_command(["data", "check", "many.jsonl", "--json"]) == 1
    assert [each["line"] for each in json.loads(capsys.readouterr().out)["findings"]] == list(range(1, 2501))


def test_control_characters_of_a_row_reach_neither_screen_nor_json(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder / "bad.jsonl", [{"prompt\x1b[31m": "x", "completion": "\x9b"}, pair("a\x1b[2Jb", "\x7f")])
    assert run_command(["data", "check", "bad.jsonl"]) == 1
    assert run_command(["data", "check", "bad.jsonl", "--json"]) == 1
    shown = capsys.readouterr().out
    assert not set("\x1b\x9b\x7f") & set(shown)


def test_a_repaired_copy_is_written_beside_its_ledger_and_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (folder / "rows.jsonl").read_bytes()
    assert run_command(["data", "check", "rows.jsonl", "--fix", "--out", "out"]) == 1
    shown = capsys.readouterr().out
    assert "repaired   5 rows in = 2 kept (1 edited) + 3 dropped" in shown
    assert "ledger     out/ledger.jsonl" in shown
    assert (folder / "rows.jsonl").read_bytes() == before
    assert run_command(["data", "check", "out/rows.jsonl"]) == 0
    assert "no faults in 2 rows" in capsys.readouterr().out
    assert run_command(["data", "check", "rows.jsonl", "--fix", "--out", "out"]) == 2
    assert "replace this one with --overwrite" in capsys.readouterr().err
    assert run_command(["data", "check", "rows.jsonl", "--fix", "--out", "out", "--overwrite"]) == 1
    assert "out/rows.jsonl" in capsys.readouterr().out
    (folder / "out" / "mine.txt").write_text("not of a repair")
    assert run_command(["data", "check", "rows.jsonl", "--fix", "--out", "out", "--overwrite"]) == 2
    assert "no earlier repair" in capsys.readouterr().err
    assert (folder / "out" / "mine.txt").exists()
    assert run_command(["data", "check", "rows.jsonl", "--fix", "--out", "again", "--json"]) == 1
    repair = json.loads(capsys.readouterr().out)["repair"]
    assert (repair["rows_in"], repair["rows_kept"]) == (5, 2)
    assert not list(folder.glob(".tmp-*"))


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ([], 2, "no file to check"),
        (["rows.jsonl", "--fix"], 2, "--fix without a place"),
        (["rows.jsonl", "--out", "x"], 2, "--out without --fix"),
        (["rows.jsonl", "--overwrite"], 2, "--overwrite without --out"),
        (["rows.jsonl", "--max-length", "512"], 2, "there is no tokenizer"),
        (["rows.jsonl", "--tokenizer", "./nowhere"], 4, "mdl-missing"),
        (["rows.jsonl", "--recipe", "nowhere"], 2, "cfg-file"),
        (["nothing.jsonl"], 3, "data-missing"),
        (["rows.jsonl", "--against", "nothing.jsonl"], 3, "data-missing"),
        (["rows.jsonl", "rows.jsonl"], 2, "named twice"),
        (["rows.jsonl", "--fix", "--out", "."], 2, "is there already"),
        (["/dev/zero"], 3, "no regular file"),
    ],
)
def test_what_cannot_be_done_says_why(
    words: list[str], code: int, told: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["data", "check", *words]) == code
    assert told in capsys.readouterr().err


def test_a_recipe_gives_files_tokenizer_and_length(
    folder: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = f"model_name: {tiny_base}\ndataset_path: clean.jsonl\nmax_length: 24\n"
    (folder / "mine.yaml").write_text(recipe)
    assert run_command(["data", "check", "--recipe", "mine.yaml"]) == 0
    shown = capsys.readouterr().out
    assert "more than 24;" in shown
    assert re.search(r"^ +24 +\d", shown, re.MULTILINE), (
        "the recipe's length is among those whose cost is shown"
    )
    assert "lengths were not measured" not in shown


def test_a_recipe_whose_base_is_not_here_still_has_its_rows_checked(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "mine.yaml").write_text("model_name: ./nowhere\ndataset_path: rows.jsonl\n")
    assert run_command(["data", "check", "--recipe", "mine.yaml"]) == 1
    said = capsys.readouterr()
    assert "[broken-json]" in said.out
    assert "lengths were not measured" in said.out
    assert "warning: lengths cannot be measured: the model './nowhere'" in said.err


def test_the_format_and_the_columns_of_a_recipe_are_those_its_files_are_read_with(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table whose name says nothing is read as lines of JSON unless the recipe says what it is."""
    (folder / "rows.data").write_text(
        "ask;say\nWhat is it?;A pear\n What is it? ;A plum\n".replace(";", "\t")
    )
    (folder / "rows.txt").write_text(json.dumps({"prompt": "Why?", "completion": "Because"}) + "\n")
    sources = [
        {"path": "rows.data", "file_format": "tsv", "columns": {"prompt": "ask", "completion": "say"}},
        {"path": "rows.txt", "file_format": "jsonl"},
    ]
    recipe = {"model": {"name": "./nowhere"}, "data": {"sources": sources}}
    (folder / "mine.yaml").write_text(json.dumps(recipe))
    run_command(["data", "check", "--recipe", "mine.yaml", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 3
    assert {(each["file"], each["kind"]) for each in found["findings"]} == {("rows.data", "conflict")}


def test_the_suites_of_a_recipe_are_looked_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "suite.jsonl", [GOOD])
    recipe = {
        "model": {"name": "./nowhere"},
        "data": {"path": "clean.jsonl", "leaks": {"suites": ["suite.jsonl"]}},
    }
    (folder / "mine.yaml").write_text(json.dumps(recipe))
    assert run_command(["data", "check", "--recipe", "mine.yaml"]) == 1
    assert "clean.jsonl:1: error: asks the same as suite.jsonl:1" in capsys.readouterr().out


def test_a_tokenizer_shows_what_every_length_costs(
    folder: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["data", "check", "clean.jsonl", "--model", str(tiny_base)]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^ +256 +0 +0\.00%$", shown, re.MULTILINE)
    assert "no faults in 2 rows of clean.jsonl (1 note)" in shown
