"""What a run keeps, takes away and refuses to touch: reports, models, checkpoints, and folders that are no longer there."""

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.torch import load_file

from luthier.config.train import CheckpointConfig
from luthier.floor.errors import CheckpointError, EnvironmentFault, UnhealthyError
from luthier.floor.log import Recorder
from luthier.floor.rundir import RunDir
from luthier.modelling.device import PRECISIONS
from luthier.train import loop, save, stage, step, tensor_file, validate
from luthier.train.checkpoint import list_checkpoints, load_newest, save_checkpoint, step_of
from luthier.train.progress import Progress
from luthier.train.stage import train
from tests.train.runs import logged_losses, make_recipe, make_run, random_rows

QUICK: dict[str, Any] = {"epochs": 1, "checkpoint": {"save_steps": 1}}


def facts_of(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((folder / "facts.json").read_text())
    return facts


def test_a_finished_run_is_trained_anew_only_when_asked(tiny_base: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_base, rows=random_rows(24))
    recipe = make_recipe(tiny_base, train=QUICK)
    first = train(recipe, run)
    losses = logged_losses(run)
    listener = Recorder()
    second = train(recipe, run, again=True, listener=listener)
    assert not any("resuming" in line for line in listener.lines)
    assert logged_losses(run) == losses
    assert (second.resumed_from_steps, second.steps) == ((), first.steps)
    assert second.provenance == first.provenance
    assert second.seconds != first.seconds


def test_a_finished_run_can_be_trained_anew_with_another_recipe(tiny_base: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_base, rows=random_rows(24))
    train(make_recipe(tiny_base, train=QUICK), run)
    report = train(make_recipe(tiny_base, train=QUICK | {"lr": 5e-4}), run, again=True)
    assert (report.steps, report.resumed_from_steps) == (3, ())
    assert {facts_of(folder)["identity"]["train.lr"] for folder in list_checkpoints(run.checkpoints)} == {
        "0.0005"
    }


def test_an_unfinished_run_loses_no_step_to_again(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", tiny_base, rows=random_rows(24))
    recipe = make_recipe(tiny_base, train=QUICK)
    train(recipe, run)
    run.report("train").unlink()
    assert train(recipe, run, again=True).resumed_from_steps == (3,)


def test_no_report_stands_beside_a_model_that_is_being_replaced(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", tiny_base, rows=random_rows(24))
    train(make_recipe(tiny_base, train=QUICK), run)

    def killed(*_: Any, **__: Any) -> None:
        assert not run.is_finished
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, "save_trained", killed)
    with pytest.raises(KeyboardInterrupt):
        train(make_recipe(tiny_base, train=QUICK | {"checkpoint": {"keep_last": 2}}), run)
    assert not run.is_finished


def test_what_a_killed_run_left_half_written_is_swept_by_the_next_start(
    tiny_base: Path, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", tiny_base, rows=random_rows(16))
    for name in (".tmp-model", ".tmp-del-checkpoints-1", "checkpoints/.tmp-step-00000001-1"):
        (run.path / name).mkdir(parents=True)
        (run.path / name / "weights.safetensors").write_bytes(b"half")
    train(make_recipe(tiny_base, train=QUICK), run)
    assert [path for path in run.path.rglob("*") if path.name.startswith(".tmp-")] == []


def test_a_run_that_was_moved_away_ends_and_is_not_begun_elsewhere(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", tiny_base, rows=random_rows(48))
    honest = loop.take_step

    def moving(job: Any, batches: Any, *, number: int, **named: Any) -> Any:
        if number == 3:
            os.rename(run.path, tmp_path / "moved")
        return honest(job, batches, number=number, **named)

    monkeypatch.setattr(loop, "take_step", moving)
    with pytest.raises(EnvironmentFault, match="No such file or directory") as caught:
        train(make_recipe(tiny_base, train=QUICK), run)
    assert "moved" in caught.value.why
    assert not run.path.exists()
    moved = RunDir(tmp_path / "moved")
    assert step_of(list_checkpoints(moved.checkpoints)[-1]) == 3


def test_the_last_ones_are_kept_and_no_best_where_none_is_asked_for(tiny_base: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_base, rows=random_rows(24), validation=random_rows(8, seed=9))
    settings = {
        "epochs": 2,
        "validation": {"every_steps": 1, "sample_prompts": 0},
        "checkpoint": {"keep_last": 2, "keep_best": 0, "save_steps": 1},
    }
    train(make_recipe(tiny_base, train=settings), run)
    assert [step_of(folder) for folder in list_checkpoints(run.checkpoints)] == [5, 6]
    assert os.readlink(run.checkpoints / "newest") == "step-00000006"


def test_the_best_cannot_be_taken_where_none_is_kept() -> None:
    with pytest.raises(ValidationError, match="keep_best 0 keeps none"):
        CheckpointConfig(load_best=True, keep_best=0)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=20), st.integers(0, 4))
def test_the_best_validations_are_the_lowest_and_patience_counts_from_the_last_gain(
    losses: list[float], keep_best: int
) -> None:
    progress = Progress()
    for number, loss in enumerate(losses):
        progress.step = number
        assert progress.note_validation(loss, keep_best=keep_best) == (
            loss < min(losses[:number], default=math.inf)
        )
    first_best = losses.index(min(losses))
    assert progress.best_validations[0] == (min(losses), first_best)
    assert [loss for loss, _ in progress.best_validations] == sorted(losses)[: max(1, keep_best)]
    assert progress.validations_without_gain == len(losses) - 1 - first_best
    assert Progress.from_facts(json.loads(json.dumps(progress.to_facts()))) == progress


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_validation_that_is_not_finite_ends_the_run_and_names_step_and_rows(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    run = make_run(tmp_path / "run", tiny_base, rows=random_rows(24), validation=random_rows(4, seed=9))
    honest = validate.token_losses
    monkeypatch.setattr(validate, "token_losses", lambda *a, **k: honest(*a, **k) * value)
    with pytest.raises(UnhealthyError) as caught:
        train(make_recipe(tiny_base, train={"epochs": 1, "checkpoint": {"save_steps": 2}}), run)
    assert caught.value.exit_code == 6
    assert f"after step 3 the validation loss is {value}" in caught.value.what
    assert "data/validation.jsonl:1" in caught.value.where
    assert [step_of(folder) for folder in list_checkpoints(run.checkpoints)] == [2]
    assert not run.is_finished


def test_fp16_is_refused_on_a_cpu_before_anything_is_written(tiny_base: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_base, rows=random_rows(8))
    before = sorted(run.path.rglob("*"))
    with pytest.raises(EnvironmentFault, match=r"train\.precision = fp16") as caught:
        train(make_recipe(tiny_base, train={"precision": "fp16"}), run)
    assert (caught.value.code, caught.value.fix) == (
        "env-precision",
        "Let the hardware choose: train.precision=auto",
    )
    assert sorted(run.path.rglob("*")) == before


def test_an_fp16_step_that_overflows_is_left_out_and_lowers_the_loss_scale(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", tiny_base, rows=random_rows(24))
    monkeypatch.setattr(stage, "choose_precision", lambda *_: PRECISIONS["fp16"])
    honest, calls = step.next_token_loss, 0

    def overflowing(model: Any, batch: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        loss = honest(model, batch)
        return loss + 1e9 * (loss - loss.detach()) if calls == 2 else loss  # the gradient alone is too large

    monkeypatch.setattr(step, "next_token_loss", overflowing)
    settings = QUICK | {"pack_tokens": 4096, "checkpoint": {"save_steps": 1, "keep_last": 9}}
    train(make_recipe(tiny_base, train=settings), run)
    first, second, third = list_checkpoints(run.checkpoints)
    weights = [load_file(folder / "weights.safetensors") for folder in (first, second, third)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not all(torch.equal(weights[1][name], weights[2][name]) for name in weights[0])
    assert [facts_of(folder)["progress"]["skipped_steps"] for folder in (first, second, third)] == [0, 1, 1]
    scales = [facts_of(folder)["loss_scale"]["scale"] for folder in (first, second, third)]
    assert scales[1] == scales[2] == scales[0] / 2


def test_little_room_is_told_before_the_first_step(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", tiny_base, rows=random_rows(8))
    recipe, listener = make_recipe(tiny_base, train=QUICK), Recorder()
    train(recipe, run, listener=listener)
    assert listener.warnings == []
    saved_bytes = sum(path.stat().st_size for path in list_checkpoints(run.checkpoints)[-1].iterdir())
    monkeypatch.setattr(save, "free_bytes", lambda _: int(1.5 * saved_bytes))
    train(recipe, run, again=True, listener=listener)
    assert len(listener.warnings) == 1
    assert "two checkpoints take about" in listener.warnings[0]


def test_a_resume_on_another_ground_is_told_by_name(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", tiny_base, rows=random_rows(16))
    recipe, listener = make_recipe(tiny_base, train=QUICK), Recorder()
    with monkeypatch.context() as patch:
        patch.setattr(save, "package_versions", lambda: {"torch": "1.0"})
        train(recipe, run)
    run.report("train").unlink()
    train(recipe, run, listener=listener)
    assert len(listener.warnings) == 1
    assert f"torch 1.0, now {torch.__version__.partition('+')[0]}" in listener.warnings[0]
    assert "CPU threads" not in listener.warnings[0]


def test_memory_that_runs_out_while_loading_sets_no_checkpoint_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: Any, **__: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")

    root = tmp_path / "checkpoints"
    folder = save_checkpoint(root, step=1, tensors={"weights": {"w": torch.ones(2)}}, facts={"identity": {}})
    with monkeypatch.context() as patch:
        patch.setattr(tensor_file, "load_file", no_memory)
        with pytest.raises(RuntimeError, match="can't allocate memory"):
            load_newest(root, identity={})
    assert list_checkpoints(root) == [folder]
    assert load_newest(root, identity={}).step == 1


def test_a_best_checkpoint_that_is_damaged_is_not_passed_over_in_silence(
    tiny_base: Path, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", tiny_base, rows=random_rows(24), validation=random_rows(24, seed=9))
    settings = {
        "epochs": 3,
        "lr": 0.05,
        "validation": {"every_steps": 1, "sample_prompts": 0},
        "checkpoint": {"keep_best": 1, "keep_last": 1, "load_best": True},
    }
    recipe = make_recipe(tiny_base, train=settings)
    report = train(recipe, run)
    assert report.best is not None and report.best.step != report.steps
    (run.checkpoints / f"step-{report.best.step:08d}" / "weights.safetensors").write_bytes(b"")
    run.report("train").unlink()
    with pytest.raises(CheckpointError, match=f"step {report.best.step} cannot be used"):
        train(recipe, run)
    assert not run.is_finished
