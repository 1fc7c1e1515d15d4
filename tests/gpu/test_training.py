"""Training on a CUDA device: the same losses as on a CPU within the noise of the number format.

Run on a machine with a GPU: make test-gpu. Elsewhere every test skips.
"""

from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.modelling.attention import SEGMENTS, VARLEN, plan_segments, register_attention
from luthier.modelling.losses import summed_loss
from luthier.reports.train import TrainReport
from luthier.train.stage import train
from tests.tiny import make_tiny
from tests.train.runs import logged_losses, make_recipe, make_run, random_rows
from tests.train.test_no_row_sees_another import LAYOUTS, check_layout

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


def run_losses(
    base: Path, folder: Path, *, device: str = "cuda", **sections: Any
) -> tuple[list[float], TrainReport]:
    run = make_run(folder, base, rows=random_rows(120), validation=random_rows(20, seed=1))
    settings = {"epochs": 3, "batch_size": 8, "gradient_accumulation_steps": 2, **sections.pop("train", {})}
    recipe = make_recipe(
        base, model={"device": device, **sections.pop("model", {})}, train=settings, **sections
    )
    report = train(recipe, run)
    return logged_losses(run), report


def relative(ours: list[float], judge: list[float]) -> float:
    assert len(ours) == len(judge) >= 3
    return max(abs(a - b) / b for a, b in zip(ours, judge, strict=True))


def test_varlen_attention_equals_segment_attention() -> None:
    register_attention()
    device = torch.device("cuda")
    lengths = [7, 130, 19, 64, 2]
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 290, (1, sum(lengths)), generator=generator).to(device)
    positions = torch.cat([torch.arange(length) for length in lengths])[None].to(device)
    keep = torch.arange(sum(lengths) - 1, device=device)
    model = make_tiny().to(device, torch.bfloat16)
    model.set_attn_implementation(SEGMENTS)
    plan = plan_segments(lengths, device=device)
    judge = summed_loss(model, ids, positions, keep, ids[0, 1:], segments=plan)
    model.set_attn_implementation(VARLEN)
    starts = torch.tensor([0, 7, 137, 156, 220, 222, 222, 222], dtype=torch.int32, device=device)
    ours = summed_loss(model, ids, positions, keep, ids[0, 1:], segment_starts=starts, longest_segment=130)
    assert ours.item() == pytest.approx(judge.item(), rel=2e-3)


def test_fp32_on_the_gpu_equals_the_cpu(tiny_base: Path, tmp_path: Path) -> None:
    judge, _ = run_losses(tiny_base, tmp_path / "cpu", device="cpu")
    ours, report = run_losses(tiny_base, tmp_path / "gpu", train={"precision": "fp32"})
    assert report.attention == SEGMENTS
    assert relative(ours, judge) < 1e-4


@pytest.mark.parametrize("compile_setting", ["off", "on"])
def test_bf16_packs_equal_the_fp32_losses_within_bf16_noise(
    tiny_base: Path, tmp_path: Path, compile_setting: str
) -> None:
    judge, _ = run_losses(tiny_base, tmp_path / "cpu", device="cpu")
    ours, report = run_losses(
        tiny_base, tmp_path / "gpu", train={"precision": "bf16", "compile": compile_setting}
    )
    assert report.attention == VARLEN
    assert relative(ours, judge) < 2e-2


def test_fp16_trains_with_loss_scaling(tiny_base: Path, tmp_path: Path) -> None:
    judge, _ = run_losses(tiny_base, tmp_path / "cpu", device="cpu")
    ours, report = run_losses(tiny_base, tmp_path / "gpu", train={"precision": "fp16"})
    assert report.precision == "fp16"
    assert ours[-1] < ours[0]
    assert relative(ours[:3], judge[:3]) < 2e-2


@pytest.mark.parametrize("bits", [4, 8])
def test_a_quantized_base_trains(tiny_base: Path, tmp_path: Path, bits: int) -> None:
    pytest.importorskip("bitsandbytes")
    ours, report = run_losses(
        tiny_base, tmp_path / "gpu", method={"kind": "qlora", "bits": bits}, train={"precision": "bf16"}
    )
    assert report.method == "qlora"
    assert ours[-1] < ours[0]


@pytest.mark.parametrize("method", ["full", "lora"])
def test_every_method_lowers_the_loss(tiny_base: Path, tmp_path: Path, method: str) -> None:
    settings: dict[str, Any] = (
        {"kind": "full", "rank": None, "alpha": None, "dropout": None} if method == "full" else {}
    )
    settings = {name: value for name, value in settings.items() if value is not None}
    run = make_run(tmp_path / "run", tiny_base, rows=random_rows(120), validation=random_rows(20, seed=1))
    recipe = make_recipe(tiny_base, model={"device": "cuda"}, train={"epochs": 3})
    if method == "full":
        recipe = type(recipe).model_validate({**recipe.model_dump(), "method": settings})
    report = train(recipe, run)
    assert report.final_loss < report.first_loss
    assert report.validation_loss is not None


def test_a_run_stopped_on_the_gpu_goes_on_from_its_checkpoint(tiny_base: Path, tmp_path: Path) -> None:
    whole, _ = run_losses(tiny_base, tmp_path / "whole")
    half = {"most_steps": 10, "schedule": {"kind": "constant", "warmup_fraction": 0.0}}
    constant, _ = run_losses(tiny_base, tmp_path / "constant", train={"schedule": half["schedule"]})
    run = make_run(tmp_path / "halves", tiny_base, rows=random_rows(120), validation=random_rows(20, seed=1))
    for most_steps in (10, 0):
        recipe = make_recipe(
            tiny_base,
            model={"device": "cuda"},
            train={
                "epochs": 3,
                "batch_size": 8,
                "gradient_accumulation_steps": 2,
                "schedule": half["schedule"],
                "most_steps": most_steps,
            },
        )
        report = train(recipe, run)
    assert report.resumed_from_steps == (10,)
    assert logged_losses(run) == pytest.approx(constant, rel=1e-2)
    assert len(whole) == len(constant)


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_no_gradient_crosses_a_row_on_the_gpu(layout: str, tiny_base: Path, tmp_path: Path) -> None:
    check_layout(LAYOUTS[layout], "auto", tiny_base, tmp_path, torch.device("cuda"))
