"""How the program is started and left: no command, a wrong one, streams that are full or closed, a folder that is gone."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from luthier.cli.app import OUR_FAULT, run_command
from tests.cli.workshop import luthier

PROGRAM = str(Path(sys.executable).with_name("luthier"))


def shell(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command line of bash, in which `luthier` is the program."""
    return subprocess.run(
        ["bash", "-c", command.replace("luthier", PROGRAM)],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_no_command_shows_the_help_and_ends_with_2(tmp_path: Path) -> None:
    done = luthier(tmp_path)
    assert done.code == 2
    assert "Usage: luthier" in done.err
    assert "compare" in done.err
    assert "error[usage]: luthier needs a command" in done.err
    assert done.out == ""


def test_a_group_without_its_command_shows_its_own_help(tmp_path: Path) -> None:
    done = luthier(tmp_path, "recipe")
    assert done.code == 2
    assert "error[usage]: luthier recipe needs a command" in done.err
    assert "schema" in done.err


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("trian",), ("'trian'", "Did you mean 'train'?", "luthier --help")),
        (("train", "train", "--jsn"), ("--jsn", "--json", "luthier train --help")),
        (("explain",), ("WORD", "luthier explain --help")),
        (("doctor", "now"), ("now", "luthier doctor --help")),
        (("train", "train", "--run"), ("--run", "requires an argument", "luthier --help")),
    ],
    ids=lambda value: "-".join(value),
)
def test_a_wrong_command_line_is_answered_with_the_nearest_right_one(
    tmp_path: Path, words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    done = luthier(tmp_path, *words)
    assert done.code == 2
    assert done.err.startswith("error[usage]: ")
    assert [part for part in parts if part not in done.err] == [], done.err
    assert done.out == ""


def test_help_and_version_end_with_0(tmp_path: Path) -> None:
    for words in (("--help",), ("-h",), ("train", "--help"), ("recipe", "show", "-h")):
        done = luthier(tmp_path, *words)
        assert (done.code, done.err) == (0, "")
        assert done.out.startswith("Usage: luthier")
    assert luthier(tmp_path, "--version").out.startswith("luthier ")


def explode(**named: Any) -> None:
    raise ZeroDivisionError("a slip")


def leak(*_: Any, **__: Any) -> None:
    raise ZeroDivisionError("the request with hf_abcdefghijklmnopqrstuv failed")


@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_no_secret_is_shown_with_a_fault_of_our_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, debug: list[str]
) -> None:
    monkeypatch.setattr("luthier.config.compose.load_recipe", leak)
    done = luthier(tmp_path, "validate", "train", "--json", *debug)
    assert done.code == OUR_FAULT
    assert "hf_***" in done.err
    assert "hf_***" in done.out
    assert "hf_abc" not in done.err + done.out


def test_our_own_fault_ends_with_70_and_hides_its_place_until_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.floor.rundir.list_runs", explode)
    done = luthier(tmp_path, "runs", "--json")
    assert done.code == OUR_FAULT == done.json["error"]["exit_code"]
    assert "error[internal]: ZeroDivisionError: a slip" in done.err
    assert "--debug" in done.err
    assert "Traceback" not in done.said
    asked = luthier(tmp_path, "runs", "--debug")
    assert asked.code == OUR_FAULT
    assert "Traceback" in asked.err
    monkeypatch.setenv("LUTHIER_DEBUG", "1")
    assert "Traceback" in luthier(tmp_path, "runs").err


def test_a_fault_of_the_user_shows_its_place_when_asked(tmp_path: Path) -> None:
    assert "Traceback" not in luthier(tmp_path, "eval").err
    assert "Traceback" in luthier(tmp_path, "eval", "--debug").err


def test_a_second_ctrl_c_ends_with_130(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("luthier.floor.rundir.list_runs", interrupt)
    done = luthier(tmp_path, "runs", "--json")
    assert (done.code, done.json["error"]["code"]) == (130, "interrupted")


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("luthier recipe schema | head -c 1 > /dev/null; exit ${PIPESTATUS[0]}", 0),
        ("luthier recipe schema | true; exit ${PIPESTATUS[0]}", 0),
        ("luthier --help | true; exit ${PIPESTATUS[0]}", 0),
        ("luthier runs --json >&-", 0),
        ("luthier runs 2>&-", 0),
        ("luthier eval 2>/dev/full", 2),
        ("luthier eval >&- 2>&-", 2),
        ("mkdir gone && cd gone && rmdir ../gone && luthier train demo", 5),
    ],
)
def test_a_stream_or_folder_that_is_gone_changes_no_result(tmp_path: Path, command: str, code: int) -> None:
    done = shell(command, tmp_path)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("flag", ["", " --json"])
def test_a_result_that_cannot_be_written_is_a_fault(tmp_path: Path, flag: str) -> None:
    done = shell(f"luthier runs{flag} > /dev/full", tmp_path)
    assert done.returncode == 5
    assert done.stderr.startswith("error[env-disk]: cannot write the result: No space left on device\n")
    assert "at standard output" in done.stderr
    assert "Exception ignored" not in done.stderr


def test_odd_terminals_and_locales_change_no_result(tmp_path: Path) -> None:
    odd = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "COLUMNS": "abc", "TERM": "dumb"}
    done = shell("luthier explain Größe; luthier --help", tmp_path, **odd)
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: luthier")
    assert "error[usage]" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_home_nothing_is_missed(tmp_path: Path) -> None:
    done = shell("unset HOME; luthier runs && luthier validate demo", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "demo" in done.stdout


def test_the_code_of_a_command_that_returns_nothing_is_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["explain", "lr"]) == 0
    assert "train.lr" in capsys.readouterr().out
