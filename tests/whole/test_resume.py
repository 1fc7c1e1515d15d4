"""A run that was stopped and resumed is the same run: losses, weights, optimizer state and counters, bit for bit."""

import random
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from luthier.config.recipe import Recipe
from luthier.floor.errors import EnvironmentFault, Interrupted, SavedAndStopped
from luthier.floor.log import Silent
from luthier.floor.rundir import RunDir
from luthier.floor.stop import StopFlag
from luthier.modelling.device import choose_precision
from luthier.train import loop
from luthier.train.checkpoint import list_checkpoints, step_of
from luthier.train.stage import train
from tests.train.runs import make_run, random_rows
from tests.whole.same_run import assert_same_run
from tests.whole.train_driver import TrainDriver, logged_steps, wait_for_step

pytestmark = pytest.mark.whole

# 50 rows in steps of 8: six whole steps and one of two rows in each of three epochs, 21 steps.
ROWS = random_rows(50, shortest=6, longest=32)
STEPS_PER_EPOCH = 7
STEPS = 21
VALIDATION = random_rows(6, seed=9, longest=24)

LORA = {"method": {"kind": "lora", "rank": 4, "dropout": 0.05}}
CASES: dict[str, dict[str, Any]] = {
    "lora packed with dropout": LORA,
    "lora padded with dropout": LORA | {"train": {"packing": False}},
    "lora in small packs": LORA | {"train": {"pack_tokens": 64}},
    "dora and rslora": {"method": {"kind": "lora", "rank": 4, "dropout": 0.05, "dora": True, "rslora": True}},
    "lora with gradient checkpointing": LORA | {"train": {"gradient_checkpointing": True}},
    "lora logging every fifth step": LORA | {"train": {"log": {"logging_steps": 5, "trackers": []}}},
    "lora in bf16": LORA | {"train": {"precision": "bf16"}},
    "full packed": {"method": {"kind": "full"}},
    "full by tokens": {"method": {"kind": "full"}, "train": {"tokens_per_step": 96, "pack_tokens": 64}},
}


def recipe_of(base: Path, case: str) -> Recipe:
    sections = CASES[case]
    train_section = {
        "epochs": 3,
        "lr": 1e-3,
        "seed": 5,
        "optimizer": {"weight_decay": 0.1},
        "checkpoint": {"save_steps": 2, "keep_last": 2, "keep_best": 1},
        "validation": {"every_steps": 4, "sample_prompts": 1, "sample_new_tokens": 4},
        "log": {"logging_steps": 1, "trackers": []},
    }
    return Recipe.model_validate(
        {
            "model": {"name": str(base), "device": "cpu"},
            "data": {"max_length": 64},
            "method": sections["method"],
            "train": train_section | sections.get("train", {}),
        }
    )


def skip_without_precision(recipe: Recipe) -> None:
    try:
        choose_precision(recipe.train.precision, torch.device("cpu"))
    except EnvironmentFault as fault:
        pytest.skip(fault.what)


class StopsAfter(StopFlag):
    """Ctrl-C once so many steps have been taken since it was made."""

    def __init__(self, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        honest, taken = loop.take_step, 0

        def counting(*arguments: Any, **named: Any) -> Any:
            nonlocal taken
            taken += 1
            if taken == steps:
                self.set(signal.SIGINT)
            return honest(*arguments, **named)

        monkeypatch.setattr(loop, "take_step", counting)


def train_with_stops(recipe: Recipe, run: RunDir, stops: list[int]) -> None:
    """Train, stopping after each of the given steps and going on with whatever randomness the process has then."""
    before = 0
    for stop in stops:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted) as caught:
            train(recipe, run, stop=StopsAfter(stop - before, patch))
        assert caught.value.exit_code == 130
        assert f"luthier train --resume {run.path}" in caught.value.fix
        before = stop
        torch.manual_seed(stop * 977)
        np.random.seed(stop * 31)
        random.seed(stop)
    report = train(recipe, run)
    assert report.resumed_from_steps == tuple(stops)


def test_a_resumed_run_is_the_same_run(tiny_base: Path, tmp_path: Path) -> None:
    recipe = recipe_of(tiny_base, "lora packed with dropout")
    reference = make_run(tmp_path / "reference", tiny_base, rows=ROWS, validation=VALIDATION)
    train(recipe, reference)
    assert logged_steps(reference) == STEPS
    run = make_run(tmp_path / "run", tiny_base, rows=ROWS, validation=VALIDATION)
    # In the middle of an epoch, at its end, in the middle of the next, and just before the last step.
    train_with_stops(recipe, run, [3, STEPS_PER_EPOCH, 10, STEPS - 1])
    assert_same_run(run, reference)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_run_resumes_exactly(tiny_base: Path, tmp_path: Path, case: str) -> None:
    recipe = recipe_of(tiny_base, case)
    skip_without_precision(recipe)
    reference = make_run(tmp_path / "reference", tiny_base, rows=ROWS, validation=VALIDATION)
    total = train(recipe, reference).steps
    run = make_run(tmp_path / "run", tiny_base, rows=ROWS, validation=VALIDATION)
    train_with_stops(recipe, run, [2, total // 3, total // 2 + 1, total - 1])
    assert_same_run(run, reference)


@pytest.mark.slow
def test_a_run_stopped_after_every_step_is_the_same_run(tiny_base: Path, tmp_path: Path) -> None:
    recipe = recipe_of(tiny_base, "lora packed with dropout")
    reference = make_run(tmp_path / "reference", tiny_base, rows=ROWS, validation=VALIDATION)
    train(recipe, reference)
    run = make_run(tmp_path / "run", tiny_base, rows=ROWS, validation=VALIDATION)
    train_with_stops(recipe, run, list(range(1, STEPS)))
    assert_same_run(run, reference)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "seed"),
    [("lora packed with dropout", 1), ("lora packed with dropout", 2), ("full packed", 3)],
)
def test_a_run_killed_at_random_again_and_again_is_the_same_run(
    tiny_base: Path, tmp_path: Path, trainings: TrainDriver, case: str, seed: int
) -> None:
    recipe = recipe_of(tiny_base, case)
    reference = make_run(tmp_path / "reference", tiny_base, rows=ROWS, validation=VALIDATION)
    assert trainings.train(recipe, reference) == 0
    run = make_run(tmp_path / "run", tiny_base, rows=ROWS, validation=VALIDATION)
    dice = random.Random(seed)
    kills = 0
    for target in sorted(dice.sample(range(1, STEPS), 4)):
        child = trainings.start(recipe, run, step_seconds=0.02, save_seconds=0.01)
        wait_for_step(run, target)
        wait_a_little(dice)
        child.send(signal.SIGKILL)
        kills += child.wait() == -signal.SIGKILL
    assert kills == 4
    assert trainings.train(recipe, run) == 0
    assert_same_run(run, reference)
    left = [path.name for path in run.checkpoints.iterdir() if path.name.startswith(".")]
    assert left == [], "the next start sweeps what a kill left"


def wait_a_little(dice: random.Random) -> None:
    """Up to two steps and a save."""
    time.sleep(dice.uniform(0, 0.06))


@pytest.mark.slow
def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(tiny_base: Path, tmp_path: Path) -> None:
    recipe = recipe_of(tiny_base, "lora packed with dropout")
    reference = make_run(tmp_path / "reference", tiny_base, rows=ROWS, validation=VALIDATION)
    train(recipe, reference)
    run = make_run(tmp_path / "run", tiny_base, rows=ROWS, validation=VALIDATION)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        train(recipe, run, stop=StopsAfter(10, patch))
    newest = list_checkpoints(run.checkpoints)[-1]
    (newest / "optimizer.safetensors").write_bytes(b"")
    report = train(recipe, run)
    assert report.resumed_from_steps == (8,)
    assert_same_run(run, reference)
    assert (run.checkpoints / f".bad-{newest.name}").is_dir()


class StopsWhileValidating(Silent):
    """Asks to stop in the n-th validation, between two of its packs."""

    def __init__(self, stop: StopFlag, validation: int) -> None:
        self._stop = stop
        self._left = validation

    def progress(self, label: str, done: int, total: int, detail: str = "") -> None:
        if label == "validating" and done == 1:
            self._left -= 1
            if self._left == 0:
                assert total > 1, "one pack leaves no place to stop at"
                self._stop.set(signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.parametrize(
    "stops",
    [
        pytest.param([(2, 8)], id="in the second validation"),
        pytest.param([(1, 4), (1, 4), (1, 4)], id="again and again in the first"),
        pytest.param([(6, STEPS)], id="in the last"),
    ],
)
def test_a_stop_in_a_validation_is_served_there_and_the_validation_is_made_up_for(
    tiny_base: Path, tmp_path: Path, stops: list[tuple[int, int]]
) -> None:
    recipe = recipe_of(tiny_base, "lora in small packs")
    reference = make_run(tmp_path / "reference", tiny_base, rows=ROWS, validation=VALIDATION)
    train(recipe, reference)
    run = make_run(tmp_path / "run", tiny_base, rows=ROWS, validation=VALIDATION)
    for validation, step in stops:
        stop = StopFlag()
        with pytest.raises(SavedAndStopped, match=f"stopped after step {step} of {STEPS}"):
            train(recipe, run, stop=stop, listener=StopsWhileValidating(stop, validation))
        assert not run.is_finished
        assert step_of(list_checkpoints(run.checkpoints)[-1]) == step
    report = train(recipe, run)
    assert report.validation_loss is not None
    assert_same_run(run, reference)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_line_of_the_loop_ends_with_a_checkpoint(
    tiny_base: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """The flag is read several times in a step: whichever read first sees it, the state must be saved before the end."""
    recipe = recipe_of(tiny_base, "lora packed with dropout")

    class SeenAtRead(StopFlag):
        reads = 0

        @property
        def is_set(self) -> bool:
            self.reads += 1
            if self.reads == first_seen:
                self.set(number)
            return super().is_set

    for first_seen in range(1, 7):
        run = make_run(tmp_path / f"run-{first_seen}", tiny_base, rows=ROWS)
        with pytest.raises((Interrupted, SavedAndStopped)) as caught:
            train(recipe, run, stop=SeenAtRead())
        saved = step_of(list_checkpoints(run.checkpoints)[-1])
        assert f"stopped after step {saved} of" in caught.value.what
