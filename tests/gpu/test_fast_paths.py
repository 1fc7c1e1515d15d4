"""The fast paths on a CUDA device: each computes what the plain path computes.

Run on a machine with a GPU: make test-gpu. Elsewhere every test skips.
"""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.floor.errors import UnhealthyError
from luthier.modelling.head_loss import IGNORED, softmax_gradient_, softmax_gradient_torch_
from luthier.modelling.losses import summed_loss, token_losses
from luthier.train import step
from luthier.train.stage import train
from tests.tiny import make_tiny
from tests.train.runs import logged_losses, make_recipe, make_run, random_rows

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]

# An error that grows shows at the end of so many, noise does not.
STEPS = 50


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize(("rows", "columns"), [(1, 5), (7, 4096), (33, 4097), (64, 151_936)])
def test_the_kernel_equals_its_twin(rows: int, columns: int, dtype: torch.dtype) -> None:
    generator = torch.Generator(device="cuda").manual_seed(rows)
    logits = (torch.randn(rows, columns, device="cuda", generator=generator) * 4).to(dtype)
    targets = torch.randint(0, columns, (rows,), device="cuda", generator=generator)
    targets[rows // 2] = IGNORED if rows > 1 else targets[0]
    theirs, ours = logits.clone(), logits.clone()
    judge = softmax_gradient_torch_(theirs, targets)
    losses = softmax_gradient_(ours, targets)
    torch.testing.assert_close(losses, judge, rtol=1e-5, atol=1e-5)
    residual = (ours.double() - theirs.double()).norm() / theirs.double().norm()
    assert residual < (1e-6 if dtype == torch.float32 else 4e-3)


def losses_of(base: Path, folder: Path, **train_settings: Any) -> list[float]:
    run = make_run(folder, base, rows=random_rows(200))
    settings: dict[str, Any] = {
        "epochs": 10,
        "most_steps": STEPS,
        "batch_size": 8,
        "gradient_accumulation_steps": 2,
        "precision": "bf16",
        "log": {"logging_steps": 1},
        **train_settings,
    }
    recipe = make_recipe(base, model={"device": "cuda"}, train=settings)
    train(recipe, run)
    return logged_losses(run)


def residual(ours: list[float], judge: list[float]) -> float:
    """Distance of two curves as a share of how far the judge moved."""
    assert len(ours) == len(judge) == STEPS
    moved = math.dist(judge, [judge[0]] * len(judge))
    return math.dist(ours, judge) / moved


def test_joined_projections_and_the_fused_loss_equal_fp32_over_fifty_steps(
    tiny_base: Path, tmp_path: Path
) -> None:
    judge = losses_of(tiny_base, tmp_path / "fp32", precision="fp32", compile="off")
    ours = losses_of(tiny_base, tmp_path / "bf16", compile="off")
    assert residual(ours, judge) < 0.02


def test_graphs_equal_the_same_kernels_launched_one_by_one(tiny_base: Path, tmp_path: Path) -> None:
    judge = losses_of(tiny_base, tmp_path / "launched", compile="on", cuda_graphs=False)
    ours = losses_of(tiny_base, tmp_path / "graphs", compile="on")
    assert residual(ours, judge) < 0.005


def test_a_graph_steps_over_a_gradient_that_is_not_finite(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, taken = step.make_batches, 0
    poisoned: dict[str, Any] = {}

    def poisoning(job: Any, micro_batches: Any) -> Any:
        nonlocal taken
        taken += 1
        if taken == 12:
            poisoned.update({name: p.detach().clone() for name, p in job.parameters.items()}, job=job)
            first = next(iter(job.parameters.values()))
            first.grad.fill_(float("nan"))
        return honest(job, micro_batches)

    monkeypatch.setattr(step, "make_batches", poisoning)
    with pytest.raises(UnhealthyError) as caught:
        losses_of(tiny_base, tmp_path / "run", compile="on")
    assert caught.value.code == "train-nonfinite"
    job = poisoned.pop("job")
    # The poison came between two steps: the step after it was left out on the device.
    assert all(torch.equal(poisoned[name], p) for name, p in job.parameters.items())


def test_memory_of_a_validation_stays_below_that_of_a_step(tiny_base: Path) -> None:
    model = make_tiny().to("cuda")
    ids = torch.randint(0, 290, (1, 4096), device="cuda")
    positions = torch.arange(4096, device="cuda")[None] % 256
    keep = torch.arange(4095, device="cuda")
    torch.cuda.reset_peak_memory_stats()
    summed_loss(model, ids, positions, keep, ids[0, 1:]).backward()
    of_a_step = torch.cuda.max_memory_allocated()
    model.zero_grad()
    torch.cuda.reset_peak_memory_stats()
    token_losses(model, ids, positions, keep, ids[0, 1:])
    assert torch.cuda.max_memory_allocated() <= of_a_step
