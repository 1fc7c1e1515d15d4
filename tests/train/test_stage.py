"""What a training leaves behind, when it ends early, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from luthier.floor.errors import CheckpointError, DataError, UnhealthyError
from luthier.floor.log import Recorder
from luthier.floor.rundir import RunDir
from luthier.reports.train import TrainReport
from luthier.train import step
from luthier.train.checkpoint import list_checkpoints, step_of
from luthier.train.stage import train
from tests.train.runs import logged_losses, make_recipe, make_run, random_rows


def metrics(run: RunDir) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.metrics.read_text().splitlines()]


def test_a_finished_run_holds_model_metrics_checkpoints_and_report(tiny_base: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_base, rows=random_rows(48), validation=random_rows(8, seed=1))
    report = train(make_recipe(tiny_base), run)
    assert run.is_finished
    assert TrainReport.read(run.report("train")) == report
    assert (run.model / "adapter_model.safetensors").is_file()
    assert (run.model / "tokenizer.json").is_file()
    assert report.steps == 12
    assert report.rows_seen == 96
    assert report.final_loss < report.first_loss
    entries = metrics(run)
    assert [entry["step"] for entry in entries if "loss" in entry] == list(range(1, 13))
    validations = [entry for entry in entries if "validation_loss" in entry]
    assert [entry["step"] for entry in validations] == [6, 12]
    assert len(validations[0]["samples"]) == 2
    assert entries[0].keys() >= {
        "loss",
        "lr",
        "grad_norm",
        "tokens_per_second",
        "peak_bytes",
        "epoch",
        "tokens",
    }
    assert not list(run.path.rglob("*.bin")) + list(run.path.rglob("*.pt")) or all(
        "store" in str(p) for p in run.path.rglob("*.bin")
    )


def test_a_finished_run_with_the_same_inputs_is_returned_as_it_is(tiny_base: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_base, rows=random_rows(24))
    recipe = make_recipe(tiny_base, train={"epochs": 1})
    first = train(recipe, run)
    written = run.metrics.stat().st_mtime_ns
    assert train(recipe, run) == first
    assert run.metrics.stat().st_mtime_ns == written


def test_patience_ends_a_run_that_no_longer_improves(tiny_base: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_base, rows=random_rows(24), validation=random_rows(24, seed=9))
    settings = {
        "epochs": 30,
        "lr": 0.05,
        "validation": {"every_steps": 1, "patience": 3, "sample_prompts": 0},
    }
    listener = Recorder()
    report = train(make_recipe(tiny_base, train=settings), run, listener=listener)
    assert report.stopped_early
    assert report.steps < 90
    assert report.best is not None
    losses = [entry["validation_loss"] for entry in metrics(run) if "validation_loss" in entry]
    assert losses[-4] == min(losses)
    assert report.best.validation_loss == min(losses)
    assert any("stopping early" in line for line in listener.lines)


def test_the_best_checkpoints_are_kept_and_the_best_can_be_taken(tiny_base: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_base, rows=random_rows(24), validation=random_rows(24, seed=9))
    settings = {
        "epochs": 6,
        "lr": 0.03,
        "validation": {"every_steps": 1, "sample_prompts": 0},
        "checkpoint": {"keep_best": 2, "keep_last": 1, "load_best": True},
    }
    report = train(make_recipe(tiny_base, train=settings), run)
    by_step = {
        entry["step"]: entry["validation_loss"] for entry in metrics(run) if "validation_loss" in entry
    }
    best_two = sorted(by_step, key=lambda step: by_step[step])[:2]
    kept = {step_of(folder) for folder in list_checkpoints(run.checkpoints)}
    assert kept == {*best_two, report.steps}
    assert report.best is not None and report.best.step == best_two[0] != report.steps
    saved = load_file(run.model / "adapter_model.safetensors")
    best = load_file(run.checkpoints / f"step-{best_two[0]:08d}" / "weights.safetensors")
    assert {tuple(tensor.flatten().tolist()) for tensor in saved.values()} == {
        tuple(tensor.flatten().tolist()) for tensor in best.values()
    }


@pytest.mark.parametrize("poison", ["loss", "gradient"])
def test_a_non_finite_step_is_not_taken_and_names_step_and_rows(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, poison: str
) -> None:
    run = make_run(tmp_path / "run", tiny_base, rows=random_rows(48))
    honest = step.next_token_loss
    calls = 0

    def poisoned(model: Any, batch: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        loss = honest(model, batch)
        if calls == 4:
            return loss * float("nan") if poison == "loss" else loss + 0 * (loss / 0).detach() * loss
        return loss

    monkeypatch.setattr(step, "next_token_loss", poisoned)
    recipe = make_recipe(tiny_base, train={"pack_tokens": 4096, "checkpoint": {"save_steps": 1}})
    with pytest.raises(UnhealthyError) as caught:
        train(recipe, run)
    assert caught.value.code == "train-nonfinite"
    assert "step 4" in caught.value.what
    assert "data/train.jsonl:" in caught.value.where
    assert "train.lr=0.0001" in caught.value.fix
    assert not run.is_finished
    (folder,) = list_checkpoints(run.checkpoints)
    assert step_of(folder) == 3
    assert all(
        bool(torch.isfinite(tensor).all()) for tensor in load_file(folder / "weights.safetensors").values()
    )


def test_resuming_another_recipe_is_refused_by_name(tiny_base: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_base, rows=random_rows(24))
    train(make_recipe(tiny_base), run)
    with pytest.raises(CheckpointError) as caught:
        train(make_recipe(tiny_base, train={"lr": 5e-4}), run)
    assert caught.value.code == "ckpt-mismatch"
    assert "train.lr: saved with 0.001, now 0.0005" in caught.value.render()


def test_rows_without_a_trained_token_are_not_trained_on(tiny_base: Path, tmp_path: Path) -> None:
    rows = [(ids, [False] * len(ids)) for ids, _ in random_rows(4)]
    run = make_run(tmp_path / "run", tiny_base, rows=rows)
    with pytest.raises(DataError) as caught:
        train(make_recipe(tiny_base), run)
    assert caught.value.code == "data-untrained"


def test_the_tokens_dial_takes_packs_of_that_many_tokens(tiny_base: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_base, rows=random_rows(200))
    recipe = make_recipe(tiny_base, train={"epochs": 1, "tokens_per_step": 512, "pack_tokens": 256})
    report = train(recipe, run)
    assert report.tokens_seen == sum(len(ids) for ids, _ in random_rows(200))
    assert report.tokens_seen / report.steps > 0.9 * 512
    assert len(logged_losses(run)) == report.steps
