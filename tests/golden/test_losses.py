"""Losses that must not move, one row a method. Write them anew: python -m tests.golden.test_losses

A change that moves them says why in its commit.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

from luthier.config.recipe import Recipe
from luthier.train.stage import train
from tests.tiny import make_tiny_model
from tests.train.runs import logged_losses, make_recipe, make_run, random_rows

GOLDEN = Path(__file__).with_name("losses.json")
# Matrix products differ in the last bits between processors; a wrong mask or rate moves a loss by far more.
TOLERANCE = 1e-4
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"kind": "lora", "rank": 8, "alpha": 16, "dropout": 0.0},
    "lora-dropout": {"kind": "lora", "rank": 8, "alpha": 16, "dropout": 0.05},
    "lora-rslora-dora": {"kind": "lora", "rank": 4, "alpha": 8, "dropout": 0.0, "rslora": True, "dora": True},
    "full": {"kind": "full"},
    "scratch": {
        "kind": "scratch",
        "hidden_size": 32,
        "layers": 2,
        "heads": 4,
        "kv_heads": 2,
        "intermediate_size": 64,
    },
}


def losses_of(method: str, base: Path, folder: Path) -> list[float]:
    settings = METHODS[method]
    plain = make_recipe(base, train={"epochs": 1, "lr": 3e-3}).model_dump(mode="json")
    plain["method"] = settings
    if method == "scratch":
        plain["model"]["name"] = None
    run = make_run(folder, base, rows=random_rows(64, seed=4))
    train(Recipe.model_validate(plain), run)
    return logged_losses(run)


@pytest.mark.parametrize("method", list(METHODS))
def test_the_first_losses_have_not_moved(method: str, tiny_base: Path, tmp_path: Path) -> None:
    golden = json.loads(GOLDEN.read_text())[method]
    ours = losses_of(method, tiny_base, tmp_path / "run")
    assert len(golden) == 8
    assert ours == pytest.approx(golden, abs=TOLERANCE)


def write_golden() -> None:
    with tempfile.TemporaryDirectory() as folder:
        base = make_tiny_model(Path(folder) / "base")
        found = {method: losses_of(method, base, Path(folder) / method) for method in METHODS}
    GOLDEN.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    write_golden()
