"""`luthier data convert` as a person types it, and `make convert`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.workshop import ROOT, luthier
from tests.data.convert.converting import FORMATS, talk, write_json

EXPORT = FORMATS / "chatgpt_export_synthetic.json"


def test_the_books_the_place_and_the_next_command_are_shown(tmp_path: Path) -> None:
    done = luthier(tmp_path, "data", "convert", str(EXPORT), "--out", "rows.jsonl")
    assert done.code == 0
    assert "as chatgpt" in done.err
    assert "conversations  5 = 3 kept + 2 left out" in done.out
    assert "4  tool output" in done.out
    assert "rows           3 of messages in rows.jsonl" in done.out
    assert "luthier train RECIPE data.path=rows.jsonl data.format=messages" in done.out
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 3


def test_json_is_the_report(tmp_path: Path) -> None:
    done = luthier(tmp_path, "data", "convert", str(EXPORT), "--out", "rows.jsonl", "--json")
    assert done.json["rows"] == 3
    assert done.json == json.loads((tmp_path / "rows.report.json").read_text())


def test_every_flag_reaches_the_stage(tmp_path: Path) -> None:
    flags = ["--from", "chatgpt", "--to", "messages", "--branches", "all", "--tools", "text"]
    flags += ["--keep", "hidden", "--keep", "instructions", "--skip-faulty", "--overwrite"]
    (tmp_path / "rows.jsonl").write_text("old")
    done = luthier(tmp_path, "data", "convert", str(EXPORT), "--out", "rows.jsonl", "--json", *flags)
    assert done.json["options"] == {
        "branches": "all",
        "tools": "text",
        "keep": ["hidden", "instructions"],
        "skip_faulty": True,
        "columns": {},
    }
    assert done.json["rows"] == 4


def test_a_dry_run_shows_rows_and_writes_nothing(tmp_path: Path) -> None:
    write_json(tmp_path / "talks.json", [talk("Hi \x1b[2J", "x" * 1000)])
    done = luthier(tmp_path, "data", "convert", "talks.json", "--dry-run")
    assert done.code == 0
    assert "nothing was written" in done.out
    assert '{"messages": [{"role": "user", "content": "Hi \\u001b[2J"}' in done.out
    assert "characters)" in done.out
    assert [path.name for path in tmp_path.iterdir()] == ["talks.json"]


@pytest.mark.parametrize(
    "words, code",
    [
        (["nowhere.zip"], 3),
        ([str(EXPORT), "--from", "sharegpt", "--dry-run"], 3),
        ([str(EXPORT), "--from", "gpt"], 2),
        ([str(EXPORT), "--out", "."], 2),
        ([], 2),
        ([""], 2),
        (["x" * 5_000], 5),
    ],
)
def test_a_fault_is_one_message_with_its_code(tmp_path: Path, words: list[str], code: int) -> None:
    done = luthier(tmp_path, "data", "convert", *words)
    assert done.code == code
    assert done.err.count("error[") == 1
    assert "Traceback" not in done.said
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_no_text_is_spelt_out(tmp_path: Path) -> None:
    (tmp_path / "odd\udcff.json").write_bytes(EXPORT.read_bytes())
    done = luthier(tmp_path, "data", "convert", "odd\udcff.json", "--json")
    assert done.code == 0, done.said
    assert done.json["source"] == "odd\\udcff.json"
    assert (tmp_path / "odd\udcff.jsonl").exists()


def make_convert(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`make convert` with this repository's program, in a folder of its own."""
    (folder / "Makefile").write_text((ROOT / "Makefile").read_text())
    (folder / ".venv").mkdir(exist_ok=True)
    for name in (".made", ".installed"):
        (folder / ".venv" / name).touch()
    command = ["make", "-o", "install", "convert", f"BIN={Path(sys.executable).parent}", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_make_convert_without_an_export_says_what_to_do(tmp_path: Path) -> None:
    done = make_convert(tmp_path)
    assert done.returncode == 0
    assert "make convert CHATGPT=FILE" in done.stdout
    assert not (tmp_path / "data").exists()


def test_make_convert_leaves_rows_that_the_shipped_recipe_reads(tmp_path: Path) -> None:
    (tmp_path / "data" / "chatgpt").mkdir(parents=True)
    (tmp_path / "data" / "chatgpt" / "conversations.json").write_bytes(EXPORT.read_bytes())
    for _ in range(2):  # a newer export replaces the rows of the older one
        assert make_convert(tmp_path).returncode == 0
    rows = [json.loads(line) for line in (tmp_path / "data" / "chatgpt.jsonl").read_text().splitlines()]
    assert [list(row) for row in rows] == [["prompt", "completion"]] * 3
    assert [path.name for path in (tmp_path / "data").glob("*.jsonl")] == ["chatgpt.jsonl"]


def test_make_convert_takes_another_file_and_form(tmp_path: Path) -> None:
    done = make_convert(tmp_path, f"CHATGPT={EXPORT}", "TO=messages")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "data" / "chatgpt.jsonl").read_text().splitlines()[0])["messages"]
    assert make_convert(tmp_path, "CHATGPT=nowhere.zip").returncode != 0
