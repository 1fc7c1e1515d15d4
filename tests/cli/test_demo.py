"""The demo's screen and object, from a tiny run: only the recipe's model, rows and length are others."""

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from luthier.cli.straight_line import SHOWN_METRICS, Sample, run_demo, sample_lines
from tests.cli.workshop import Done, make_workshop

# Whole trainings, evaluations or merges: out of the quick suite, which has a minute and a half.
pytestmark = pytest.mark.whole

OVERRIDES = (
    "model.name=./base",
    "method.rank=4",
    "train.epochs=1",
    "data.max_length=64",
    "evaluate.max_new_tokens=4",
)


def demo(folder: Path, *, as_json: bool) -> Done:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        run_demo(OVERRIDES, as_json=as_json)
    return Done(0, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def folder(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workshop(tmp_path_factory.mktemp("demo") / "workshop", tiny_base)


@pytest.fixture(scope="module")
def screen(folder: Path) -> Done:
    return demo(folder, as_json=False)


@pytest.fixture(scope="module")
def found(folder: Path) -> Done:
    return demo(folder, as_json=True)


def test_the_screen_holds_one_table_of_base_against_tuned_with_intervals(screen: Done) -> None:
    rows = screen.out.splitlines()
    (head,) = [number for number, row in enumerate(rows) if row.startswith("metric")]
    assert re.split(r"\s{2,}", rows[head]) == ["metric", "base", "tuned", "difference", "95 % interval"]
    table = rows[head + 2 : rows.index("", head)]
    names = [row.split()[0] for row in table]
    assert names == [name for name in SHOWN_METRICS if name in names]
    assert {"exact_match", "loss"} <= set(names)
    assert all(re.search(r"[+-]\d+\.\d{3} to [+-]\d+\.\d{3}$", row) for row in table)


def test_the_screen_shows_three_answers_side_by_side(screen: Done) -> None:
    heads = re.findall(r"^(?:won|lost|tied):\s+(.+)$", screen.out, re.MULTILINE)
    assert len(heads) == 3
    assert all(head.startswith("Colour 10") for head in heads)
    for side in ("expected", "base", "tuned"):
        assert len(re.findall(rf"^  {side}\s+\S", screen.out, re.MULTILINE)) == 3


def test_the_screen_says_where_the_run_lies_and_what_to_type_next(screen: Done, folder: Path) -> None:
    (run,) = re.findall(r"^run +(outputs/runs/\S+)$", screen.out, re.MULTILINE)
    assert (folder / run / "model").is_dir()
    assert f"tensorboard --logdir {run}/logs" in screen.out
    for command in ("luthier merge", "luthier train demo train.most_steps=1132", "luthier recipe show demo"):
        assert command in screen.out
    assert re.search(r"^took .+, at most [\d.]+ [MG]iB of memory$", screen.out, re.MULTILINE)
    assert max(map(len, screen.out.splitlines())) <= 100


def test_talk_goes_to_standard_error(screen: Done, found: Done) -> None:
    for done in (screen, found):
        assert "the base model answers the held-out rows" in done.err
        assert "the tuned model answers the held-out rows" in done.err
        assert "answers the held-out rows" not in done.out


def test_the_object_holds_the_figures_of_the_comparison_and_the_demos_own(found: Done, folder: Path) -> None:
    value = found.json
    assert value["rows"] == 6
    assert {"base", "tuned", "delta", "low", "high"} <= value["metrics"]["exact_match"].keys()
    assert value["train"]["method"] == "lora"
    assert 0 < value["seconds"] < 600
    assert value["peak_bytes"] > 10**8
    report: dict[str, Any] = json.loads((folder / value["run"] / "compare" / "report.json").read_text())
    assert value["metrics"] == report["metrics"]


def test_every_sample_is_a_row_with_both_answers_and_its_outcome(found: Done) -> None:
    samples = found.json["samples"]
    assert len(samples) == 3
    for sample in samples:
        row = int(sample["prompt"].removeprefix("Colour 10").removesuffix("?"))
        outcome = {
            **dict.fromkeys(found.json["rows_won"], "won"),
            **dict.fromkeys(found.json["rows_lost"], "lost"),
        }
        assert sample["outcome"] == outcome.get(row, "tied")
        assert isinstance(sample["base"], str)
        assert isinstance(sample["tuned"], str)


def test_the_run_of_a_demo_is_a_run_like_any_other(found: Done, folder: Path) -> None:
    run = folder / found.json["run"]
    reports = {path.parent.relative_to(run).as_posix() for path in run.rglob("report.json")}
    assert reports == {"data", "train", "evaluate/base", "evaluate/tuned", "compare"}
    assert (folder / "outputs" / "runs" / "latest").resolve() == run


def test_a_long_answer_is_cut_to_two_lines_and_an_empty_one_is_said() -> None:
    sample = Sample(prompt="word " * 100, expected="a\n  b", base="", tuned="t", outcome="tied")
    lines = sample_lines(sample)
    assert [line[:12].strip() for line in lines] == ["tied:", "", "expected", "base", "tuned"]
    assert lines[1].endswith(" ...")
    assert lines[2].split() == ["expected", "a", "b"]
    assert lines[3].split() == ["base", "(nothing)"]
