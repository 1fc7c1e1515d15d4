"""`luthier validate`, `luthier recipe` and `luthier explain`: what they print, and how they end."""

import json
from pathlib import Path

import pytest

from luthier.cli.app import run_command
from tests.config.recipes import BASE, write_recipe


def test_a_valid_recipe_ends_with_0_and_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_recipe(tmp_path, BASE)
    assert run_command(["validate", str(path), "lr=1e-3"]) == 0
    assert capsys.readouterr().out == f"{path} is a valid recipe\n"


def test_an_idle_setting_is_a_warning_beside_the_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_recipe(tmp_path, BASE)
    assert run_command(["validate", str(path), "train.schedule.decay_fraction=0.5"]) == 0
    shown = capsys.readouterr()
    assert "train.schedule.decay_fraction (command line) changes nothing" in shown.err
    assert "warning" not in shown.out


def test_an_invalid_recipe_ends_with_2_and_lists_every_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_recipe(tmp_path, BASE + "epoch: 3\n")
    assert run_command(["validate", str(path), "lr=abc"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [
        f"error[recipe]: {path} has 2 problems",
        f"  epoch ({path}:2) is not a setting; did you mean epochs?  [cfg-unknown]",
        "  lr = 'abc' (command line): must be a number  [cfg-type]",
        f"Then check it: luthier validate {path}",
    ]


def test_faults_come_as_json_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_recipe(tmp_path, BASE)
    assert run_command(["validate", str(path), "epochs=0", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["code"], error["where"], error["exit_code"]) == ("cfg-range", "command line", 2)
    assert error["what"] == "epochs = 0: must be greater than 0"


def test_show_prints_values_with_their_places(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_recipe(tmp_path, BASE)
    assert run_command(["recipe", "show", str(path), "lr=1e-3", "--changed"]) == 0
    rows = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()[1:]]
    assert rows == [["model.name", "embedded", f"{path}:1"], ["train.lr", "0.001", "command line"]]


def test_show_and_validate_agree_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_recipe(tmp_path, BASE)
    assert run_command(["recipe", "show", str(path), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert run_command(["validate", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"is_valid": True, **shown}
    assert shown["values"]["train.seed"] == {"value": 42, "origin": "default"}


def test_the_schema_is_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["recipe", "schema"]) == 0
    assert "lora_r" in json.loads(capsys.readouterr().out)["properties"]


@pytest.mark.parametrize(
    ("word", "part"),
    [("cfg-conflict", "exit code    2"), ("train.lr", "a number, greater than 0"), ("lora_r", "method.rank")],
)
def test_a_fault_word_or_a_setting_is_explained(
    word: str, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["explain", word]) == 0
    assert part in capsys.readouterr().out


def test_an_unknown_word_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["explain", "cfg-conflit"]) == 2
    assert "did you mean cfg-conflict?" in capsys.readouterr().err


def test_the_readme_shows_what_validate_prints(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(__file__).resolve().parents[2]
    readme = (root / "README.md").read_text(encoding="utf-8")
    _, _, shown = readme.partition("$ luthier validate train train.lrr=1e-4 lora_r=0\n")
    monkeypatch.chdir(root)
    assert run_command(["validate", "train", "train.lrr=1e-4", "lora_r=0"]) == 2
    assert shown.startswith(capsys.readouterr().err)
