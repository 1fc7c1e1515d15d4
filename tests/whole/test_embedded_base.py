"""What a new user types first, on the base and the rows that ship: `luthier demo`, and the lab's make targets with TRAIN_CONFIG=demo."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.law.source import ROOT

pytestmark = [pytest.mark.whole, pytest.mark.slow]

PROGRAMS = Path(sys.executable).parent
MOST_BYTES = 2 * 2**30
LAB_ROWS = 24
SHORT = "demo train.most_steps=12 evaluate.gate_metric=loss"


def make_clone(folder: Path) -> Path:
    """What a clone has beside the sources: recipes, rows, the Makefile."""
    folder.mkdir()
    shutil.copy(ROOT / "Makefile", folder)
    for name in ("configs", "data"):
        shutil.copytree(ROOT / name, folder / name)
    return folder


@dataclass(frozen=True)
class Demo:
    """The demo's screen, and the folder of its run."""

    out: str
    run: Path

    def metric(self, name: str) -> tuple[float, float, float, float, float]:
        """Base, tuned, difference and both ends of the interval, as the table shows them."""
        (line,) = re.findall(rf"^{name} .*$", self.out, re.MULTILINE)
        base, tuned, delta, low, high = (float(figure) for figure in re.findall(r"[+-]?\d+\.\d+", line))
        return base, tuned, delta, low, high


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = make_clone(tmp_path_factory.mktemp("demo") / "luthier")
    done = subprocess.run(
        [PROGRAMS / "luthier", "demo"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return Demo(done.stdout, (folder / "outputs" / "runs" / "latest").resolve())


def test_the_demo_gains_sixty_points_of_exact_match(demo: Demo) -> None:
    base, tuned, delta, low, high = demo.metric("exact_match")
    assert delta >= 0.60
    assert delta == pytest.approx(tuned - base, abs=2e-3)
    assert low <= delta <= high


def test_slot_f1_stands_beside_it_with_an_interval(demo: Demo) -> None:
    base, tuned, delta, low, high = demo.metric("slot_f1")
    assert tuned > 0.9 > base
    assert low <= delta <= high
    rows = len((ROOT / "data/eval/test.jsonl").read_text().splitlines())
    assert demo.out.startswith(f"{rows:,} held-out rows, base against tuned, intervals of 95 %")


def test_three_rows_are_shown_with_both_answers(demo: Demo) -> None:
    heads = re.findall(r"^(won:|lost:|tied:|  expected|  base|  tuned) ", demo.out, re.MULTILINE)
    assert heads[1::4] == ["  expected"] * 3
    assert heads[2::4] == ["  base"] * 3
    assert heads[3::4] == ["  tuned"] * 3
    assert len(heads) == 12


def test_it_says_where_the_run_lies_and_what_to_type_next(demo: Demo) -> None:
    name = f"outputs/runs/{demo.run.name}"
    assert f"\nrun     {name}\n" in demo.out
    assert {"model", "config_used.yaml", "logs", "evaluate"} <= {path.name for path in demo.run.iterdir()}
    _, after = demo.out.split("\nnext  ")
    for command in (
        "luthier merge ",
        "luthier train demo ",
        "luthier recipe show demo ",
        "tensorboard --logdir ",
    ):
        assert command in after


def test_it_stays_below_two_gibibytes(demo: Demo) -> None:
    (figure,) = re.findall(r"at most ([\d.]+ [MG]iB) of memory", demo.out)
    number, unit = figure.split()
    assert float(number) * {"MiB": 2**20, "GiB": 2**30}[unit] <= MOST_BYTES


def make(folder: Path, target: str, *settings: str) -> subprocess.CompletedProcess[str]:
    """The target as the Makefile has it, with the programs of this environment and nothing installed."""
    return subprocess.run(
        ["make", "--no-print-directory", "-o", "install", f"BIN={PROGRAMS}", target, *settings],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_labs_targets_go_the_whole_line_on_the_embedded_base(tmp_path: Path) -> None:
    folder = make_clone(tmp_path / "luthier")
    test = folder / "data" / "eval" / "test.jsonl"
    test.write_text("".join(test.read_text().splitlines(keepends=True)[:LAB_ROWS]))
    for target in ("train", "eval", "eval-baseline", "compare", "merge"):
        settings = [f"TRAIN_CONFIG={SHORT}"] if target == "train" else []
        done = make(folder, target, *settings)
        assert done.returncode == 0, f"{target}: {done.stdout}{done.stderr}"
    run = folder / "outputs" / "runs" / "latest"
    for subject in ("base", "tuned"):
        rows = (run / "evaluate" / subject / "predictions.jsonl").read_text().splitlines()
        assert len(rows) == LAB_ROWS
    assert json.loads((run / "compare" / "report.json").read_text())["metrics"]["loss"]["high"] < 0
    # The base is stored in bf16 and so is the merge: it equals the adapter until it is rounded, and after that nearly.
    merge = json.loads((run / "merge" / "report.json").read_text())
    assert merge["dtype"] == "bf16"
    assert merge["difference_before_rounding"] < 1e-4
    assert merge["mean_kl"] <= 0.02
