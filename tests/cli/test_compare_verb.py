"""`luthier compare` and `luthier eval` mean the same evaluation by the same words, and a merged model is judged like any other."""

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.cli.app import run_command
from luthier.cli.choose import split_compared
from luthier.config.method import LoraMethod
from luthier.config.used import write_recipe
from luthier.floor.errors import UsageError
from tests.export.finished_run import make_finished_run, write_questions

RUN = "outputs/runs/2026-01-02_03-04-05"


@pytest.fixture
def workshop(tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one finished run, as the commands find it."""
    monkeypatch.chdir(tmp_path)
    recipe, run = make_finished_run(tmp_path / RUN, tiny_base, LoraMethod(rank=4, alpha=8, dropout=0.0))
    write_recipe(recipe, run.config_used)
    return tmp_path


def json_of(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    capsys.readouterr()
    assert run_command([*words, "--json"]) in (0, 1)
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_words_are_two_names_and_settings_in_any_order() -> None:
    assert split_compared(None) == (None, "base", [])
    assert split_compared(["a"]) == ("a", "base", [])
    assert split_compared(["evaluate.gate=better", "a", "b"]) == ("a", "b", ["evaluate.gate=better"])
    with pytest.raises(UsageError, match="c is one name too many"):
        split_compared(["a", "b", "c"])


def test_compare_judges_by_what_eval_was_told(workshop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = write_questions(workshop / "other.jsonl", [("A?", "a"), ("B?", "b")])
    settings = [f"evaluate.path={other}", "evaluate.gate_metric=rouge1"]
    found = json_of(capsys, "eval", *settings)
    compared = json_of(capsys, "compare", *settings)
    assert (found["rows"], compared["rows"], compared["gate_metric"]) == (2, 2, "rouge1")
    again = json_of(capsys, "eval", *settings)
    assert again == found, "the comparison took the evaluation that was there"


def test_compare_takes_the_recipe_eval_as_eval_does(
    workshop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_questions(workshop / "other.jsonl", [("A?", "a"), ("B?", "b"), ("C?", "c")])
    (workshop / "configs").mkdir()
    (workshop / "configs" / "eval.yaml").write_text(f"evaluate:\n  path: {other}\n")
    assert json_of(capsys, "compare")["rows"] == json_of(capsys, "eval")["rows"] == 3


@pytest.mark.slow
def test_a_merged_model_is_judged_as_the_tuned_one_is(
    workshop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["eval", "evaluate.subject=merged"]) == 2
    assert "luthier merge" in capsys.readouterr().err
    json_of(capsys, "merge")
    merged, tuned = json_of(capsys, "eval", "evaluate.subject=merged"), json_of(capsys, "eval")
    assert merged["subject"] == "merged"
    assert merged["metrics"]["exact_match"] == tuned["metrics"]["exact_match"]
    assert merged["metrics"]["loss"]["value"] == pytest.approx(tuned["metrics"]["loss"]["value"], abs=1e-4)


def test_show_leaves_defaults_out_of_json_too(workshop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workshop / "configs").mkdir()
    (workshop / "configs" / "mine.yaml").write_text("model_name: embedded\nlr: 1e-3\n")
    changed = json_of(capsys, "recipe", "show", "mine", "--changed")["values"]
    assert set(changed) == {"model.name", "train.lr"}
    assert set(json_of(capsys, "recipe", "show", "mine")["values"]) > set(changed)
