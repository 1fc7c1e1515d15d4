"""A training that is told to stop, meets a value that is not finite, or a disk that is full: it ends with the right exit code,
says what to do, and leaves a checkpoint that goes on exactly.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from luthier.config.recipe import Recipe
from luthier.floor.rundir import RunDir
from luthier.train.checkpoint import list_checkpoints, step_of
from luthier.train.manifest import check_folder
from tests.train.runs import make_run, random_rows
from tests.whole.same_run import assert_same_run
from tests.whole.train_driver import Child, TrainDriver, fault_of, logged_steps, wait_for_step, wait_until

pytestmark = [pytest.mark.whole, pytest.mark.slow]

ROWS = random_rows(50, shortest=6, longest=32)
STEPS = 14
# The rows of one step, in the order of the run: an error must name some of them.
ROWS_PER_STEP = 8


def recipe_of(base: Path, **train: Any) -> Recipe:
    settings = {
        "epochs": 2,
        "lr": 1e-3,
        "checkpoint": {"save_steps": 3, "keep_last": 2},
        "log": {"logging_steps": 1, "trackers": []},
    }
    return Recipe.model_validate(
        {
            "model": {"name": str(base), "device": "cpu"},
            "data": {"max_length": 64},
            "method": {"kind": "lora", "rank": 4, "dropout": 0.05},
            "train": settings | train,
        }
    )


@pytest.fixture
def reference(tiny_base: Path, tmp_path: Path, trainings: TrainDriver) -> RunDir:
    run = make_run(tmp_path / "reference", tiny_base, rows=ROWS)
    assert trainings.train(recipe_of(tiny_base), run) == 0
    return run


@pytest.fixture
def run(tiny_base: Path, tmp_path: Path) -> RunDir:
    return make_run(tmp_path / "run", tiny_base, rows=ROWS)


def assert_checkpoints_are_valid_and_finite(run: RunDir) -> None:
    folders = list_checkpoints(run.checkpoints)
    assert folders, "the run has no checkpoint"
    for folder in folders:
        for name in check_folder(folder).files:
            if name.endswith(".safetensors"):
                tensors = load_file(folder / name).values()
                assert all(
                    bool(torch.isfinite(tensor).all()) for tensor in tensors if tensor.is_floating_point()
                )
    assert (run.checkpoints / "newest").resolve() == folders[-1].resolve()


def stop_at(child: Child, run: RunDir, step: int, *numbers: signal.Signals) -> int:
    wait_for_step(run, step)
    for number in numbers:
        child.send(number)
    return child.wait()


@pytest.mark.parametrize("step", [1, 4, 7, STEPS - 2])
def test_sigterm_finishes_the_step_saves_and_exits_75(
    tiny_base: Path, trainings: TrainDriver, run: RunDir, reference: RunDir, step: int
) -> None:
    recipe = recipe_of(tiny_base)
    child = trainings.start(recipe, run, step_seconds=0.1)
    asked = time.monotonic()
    assert stop_at(child, run, step, signal.SIGTERM) == 75
    assert time.monotonic() - asked < 60
    assert_checkpoints_are_valid_and_finite(run)
    # The step in which the signal came is the one that is saved: nothing is lost.
    saved = step_of(list_checkpoints(run.checkpoints)[-1])
    assert saved == logged_steps(run) >= step
    assert f"luthier train --resume {run.path}" in fault_of(run)
    assert f"stopped after step {saved} of {STEPS}" in fault_of(run)
    assert not run.is_finished
    assert trainings.train(recipe, run) == 0
    assert_same_run(run, reference)


def test_one_ctrl_c_saves_and_exits_130(
    tiny_base: Path, trainings: TrainDriver, run: RunDir, reference: RunDir
) -> None:
    recipe = recipe_of(tiny_base)
    child = trainings.start(recipe, run, step_seconds=0.1)
    assert stop_at(child, run, 5, signal.SIGINT) == 130
    assert_checkpoints_are_valid_and_finite(run)
    assert trainings.train(recipe, run) == 0
    assert_same_run(run, reference)


def test_a_second_ctrl_c_in_the_save_leaves_the_checkpoint_before(
    tiny_base: Path, trainings: TrainDriver, run: RunDir, reference: RunDir
) -> None:
    recipe = recipe_of(tiny_base)
    child = trainings.start(recipe, run, step_seconds=0.05, save_seconds=1.5)
    wait_for_step(run, 4)
    child.send(signal.SIGINT)
    wait_until(lambda: any(run.checkpoints.glob(".tmp-step-*/facts.json")), what="the save")
    child.send(signal.SIGINT)
    child.wait()
    assert_checkpoints_are_valid_and_finite(run)
    assert step_of(list_checkpoints(run.checkpoints)[-1]) == 3
    assert not list(run.checkpoints.glob(".tmp-step-*")), "an interrupted save removes what it wrote"
    assert trainings.train(recipe, run) == 0
    assert_same_run(run, reference)


def test_sigterm_in_a_save_lets_the_save_finish(
    tiny_base: Path, trainings: TrainDriver, run: RunDir, reference: RunDir
) -> None:
    recipe = recipe_of(tiny_base)
    child = trainings.start(recipe, run, save_seconds=0.5)
    wait_until(
        lambda: any(run.checkpoints.glob(".tmp-step-00000003-*/facts.json")), what="the save of step 3"
    )
    child.send(signal.SIGTERM)
    child.send(signal.SIGTERM)
    assert child.wait() == 75
    assert_checkpoints_are_valid_and_finite(run)
    assert [step_of(folder) for folder in list_checkpoints(run.checkpoints)] == [3]
    assert trainings.train(recipe, run) == 0
    assert_same_run(run, reference)


def test_sigterm_before_the_first_step_loses_nothing(
    tiny_base: Path, trainings: TrainDriver, run: RunDir, reference: RunDir
) -> None:
    recipe = recipe_of(tiny_base)
    child = trainings.start(recipe, run)
    child.send(signal.SIGTERM)
    assert child.wait() in (75, -signal.SIGTERM), (
        "either before the handlers stood, or saved after the first step"
    )
    assert trainings.train(recipe, run) == 0
    assert_same_run(run, reference)


def test_a_stopped_process_goes_on_when_it_is_continued(
    tiny_base: Path, trainings: TrainDriver, run: RunDir, reference: RunDir
) -> None:
    child = trainings.start(recipe_of(tiny_base), run, step_seconds=0.05)
    wait_for_step(run, 3)
    child.send(signal.SIGSTOP)
    time.sleep(0.5)
    before = logged_steps(run)
    time.sleep(0.3)
    assert logged_steps(run) == before
    child.send(signal.SIGCONT)
    assert child.wait() == 0
    assert_same_run(run, reference)


@pytest.mark.parametrize("value", ["nan", "inf"])
@pytest.mark.parametrize("step", [1, 5, 9])
def test_a_gradient_that_is_not_finite_ends_the_run_before_it_is_stepped_on(
    tiny_base: Path, trainings: TrainDriver, run: RunDir, reference: RunDir, step: int, value: str
) -> None:
    recipe = recipe_of(tiny_base)
    assert trainings.train(recipe, run, poison_step=step, poison=value) == 6
    told = fault_of(run)
    assert "error[train-nonfinite]" in told
    assert f"step {step} " in told
    assert told.count("data/train.jsonl:") == min(ROWS_PER_STEP, 8)
    assert logged_steps(run) == step - 1
    assert not run.is_finished
    assert not run.model.exists()
    if step > 3:
        assert_checkpoints_are_valid_and_finite(run)
        assert step_of(list_checkpoints(run.checkpoints)[-1]) == (step - 1) // 3 * 3
    else:
        assert list_checkpoints(run.checkpoints) == []
    assert trainings.train(recipe, run) == 0
    assert_same_run(run, reference)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A file system of its own below `folder`; skips where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_ends_the_run_and_the_last_checkpoint_survives(
    tiny_base: Path, trainings: TrainDriver, run: RunDir, reference: RunDir
) -> None:
    recipe = recipe_of(tiny_base, checkpoint={"save_steps": 3, "keep_last": 2})
    with small_disk(run.checkpoints, "1m"):
        hog = run.checkpoints / "hog"
        child = trainings.start(recipe, run, step_seconds=0.1)
        wait_until(lambda: (run.checkpoints / "newest").exists(), what="the first checkpoint")
        fill(hog, run)
        assert child.wait() == 5
        told = fault_of(run)
        assert "error[env-disk]" in told
        assert "checkpoints" in told
        assert_checkpoints_are_valid_and_finite(run)
        assert step_of(list_checkpoints(run.checkpoints)[-1]) == 3
        assert not list(run.checkpoints.glob(".tmp-*"))
        hog.unlink()
        assert trainings.train(recipe, run) == 0
        assert_same_run(run, reference)


def fill(hog: Path, run: RunDir) -> None:
    """Take nearly all that is free."""
    free = os.statvfs(run.checkpoints).f_bavail * os.statvfs(run.checkpoints).f_bsize
    hog.write_bytes(bytes(free - 8192))


def test_a_disk_that_refuses_in_the_middle_of_a_file_leaves_nothing_half_written(
    tiny_base: Path, trainings: TrainDriver, run: RunDir, reference: RunDir
) -> None:
    recipe = recipe_of(tiny_base)
    assert trainings.train(recipe, run, file_limit_bytes=20_000) == 5
    assert "error[env-disk]" in fault_of(run)
    assert "File too large" in fault_of(run)
    assert list(run.checkpoints.iterdir()) == []
    assert logged_steps(run) == 3
    assert trainings.train(recipe, run) == 0
    assert_same_run(run, reference)
