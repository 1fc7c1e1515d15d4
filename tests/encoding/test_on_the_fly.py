"""Training on rows that are tokenized on the fly is the training on cached tokens: same rows, same packs, same losses, bit for bit."""

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.config.recipe import Recipe
from luthier.data.stage import prepare
from luthier.floor.rundir import RunDir
from luthier.reports.train import TrainReport
from luthier.train.stage import train
from tests.data.preparing import make_run, write_rows
from tests.train.runs import logged_losses

pytestmark = pytest.mark.slow

WORDS = "the mill by the river serves a great many cheap dishes of every kind and has a view of the hills".split()


def pair(number: int) -> dict[str, str]:
    asked = " ".join(WORDS[(number + at) % len(WORDS)] for at in range(1 + number % 7))
    said = " ".join(WORDS[(3 * number + at) % len(WORDS)] for at in range(1 + number % 5))
    return {"prompt": f"{number}: {asked}?", "completion": f"{said}."}


def talk(number: int) -> dict[str, Any]:
    row = pair(number)
    turns = [
        {"role": "user", "content": row["prompt"]},
        {"role": "assistant", "content": row["completion"]},
    ]
    return {"messages": turns * (1 + number % 2)}


def recipe_of(base: Path, folder: Path, tokenization: str, *, data: dict[str, Any] | None = None, **train: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "model": {"name": str(base), "device": "cpu"},
            "data": {
                "path": str(folder / "data"),
                "cache_path": str(folder / "cache"),
                "max_length": 64,
                "tokenization": tokenization,
                **(data or {}),
            },
            "method": {"kind": "lora", "rank": 4, "dropout": 0.05},
            "train": {
                "epochs": 2,
                "lr": 1e-3,
                "seed": 5,
                "log": {"logging_steps": 1, "trackers": []},
                "checkpoint": {"save_steps": 3},
                "validation": {"sample_prompts": 1, "sample_new_tokens": 4},
                **train,
            },
        }
    )


def run_both(base: Path, folder: Path, **settings: Any) -> dict[str, tuple[RunDir, TrainReport]]:
    """The same recipe both ways."""
    done = {}
    for tokenization in ("cached", "on_the_fly"):
        recipe = recipe_of(base, folder, tokenization, **settings)
        run = make_run(folder, tokenization)
        prepare(recipe, run)
        done[tokenization] = run, train(recipe, run)
    return done


LAYOUTS: dict[str, dict[str, Any]] = {
    "rows packed": {},
    "rows padded": {"packing": False},
    "bucketed": {"packing": False, "padding": "bucketed"},
    "tokens": {"tokens_per_step": 256, "pack_tokens": 128, "most_steps": 12},
}


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_every_loss_is_that_of_cached_tokens(layout: str, tiny_base: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "data/rows.jsonl", [pair(number) for number in range(60)])
    done = run_both(tiny_base, tmp_path, **LAYOUTS[layout])
    (cached, before), (fly, after) = done["cached"], done["on_the_fly"]
    assert logged_losses(cached) == logged_losses(fly)
    assert (before.steps, before.tokens_seen, before.trained_tokens_seen) == (after.steps, after.tokens_seen, after.trained_tokens_seen)
    assert before.validation_loss == after.validation_loss
