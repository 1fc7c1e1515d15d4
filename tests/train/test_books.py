"""Training refuses data whose report or store was changed, and says which two numbers should be one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luthier.floor.errors import DataError
from luthier.floor.rundir import RunDir
from luthier.reports.data import DataReport
from luthier.train.stage import train
from tests.train.runs import make_recipe, make_run, random_rows

Change = Callable[[dict[str, Any]], None]


def stage_of(report: dict[str, Any], stage: str) -> dict[str, Any]:
    return next(books for books in report["ledger"] if books["stage"] == stage)


def lose_a_row(report: dict[str, Any]) -> None:
    stage_of(report, "fitted")["rows"]["kept"] -= 1


def win_tokens(report: dict[str, Any]) -> None:
    for stage in ("rendered", "fitted"):
        account = stage_of(report, stage)["tokens"]
        account["came_in"] += 7
        account["kept"] += 7


def explain_a_row_away(report: dict[str, Any]) -> None:
    rows = stage_of(report, "fitted")["rows"]
    rows["kept"] -= 1
    rows["dropped"] = {"no reason at all": 1}


def lose_every_stage(report: dict[str, Any]) -> None:
    report["ledger"] = []


@pytest.fixture
def run(tiny_base: Path, tmp_path: Path) -> RunDir:
    return make_run(tmp_path / "run", tiny_base, rows=random_rows(12, seed=3))


def refuse(run: RunDir, base: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        train(make_recipe(base), run)
    assert not run.model.exists(), "nothing was trained"
    return caught.value


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lose_a_row, "fitted (train), rows: 12 came in, 11 were kept or dropped"),
        (win_tokens, "tokens were kept for training, and the store holds"),
        (explain_a_row_away, "the books say that 11 rows were kept for training, and the store holds 12"),
        (lose_every_stage, "the ledger lacks its stages"),
    ],
)
def test_a_changed_report_is_refused(change: Change, told: str, run: RunDir, tiny_base: Path) -> None:
    path = run.report("data")
    report = json.loads(path.read_text())
    change(report)
    path.write_text(json.dumps(report))
    fault = refuse(run, tiny_base)
    assert (fault.code, fault.exit_code) == ("data-books", 3)
    assert told in "\n".join([fault.what, *fault.problems])
    assert "luthier prepare" in fault.fix


def test_a_store_whose_rows_went_is_refused(run: RunDir, tiny_base: Path, tmp_path: Path) -> None:
    smaller = make_run(tmp_path / "smaller", tiny_base, rows=random_rows(11, seed=3))
    theirs, mine = (Path(DataReport.read(each.report("data")).store) / "train" for each in (smaller, run))
    for file in theirs.iterdir():
        (mine / file.name).write_bytes(file.read_bytes())
    fault = refuse(run, tiny_base)
    assert fault.code == "data-books"
    assert any("12 rows" in problem and "holds 11" in problem for problem in fault.problems)


def test_a_store_whose_masks_went_is_refused(run: RunDir, tiny_base: Path) -> None:
    counts = Path(DataReport.read(run.report("data")).store) / "train" / "counts.bin"
    trained = np.fromfile(counts, dtype="<i4")
    trained[0] -= 1
    trained.tofile(counts)
    fault = refuse(run, tiny_base)
    assert fault.code == "data-books"
    assert "trained tokens were kept for training" in fault.what


def test_the_right_books_are_trained(run: RunDir, tiny_base: Path) -> None:
    train(make_recipe(tiny_base, train={"most_steps": 1}), run)
    assert run.model.exists()
