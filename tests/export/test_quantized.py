"""Adapters over quantized bases: into the numbers they saw exactly, into the original ones by their divergence and task metric."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from luthier.config.method import QloraMethod
from luthier.export import stage
from luthier.export.stage import merge
from luthier.floor.errors import GateError
from luthier.modelling.dequantize import dequantize, is_quantized
from luthier.modelling.load import load_base
from tests.export.finished_run import make_finished_run, measure_in_this_process
from tests.tiny import make_tiny_model

# Whole trainings, evaluations or merges: out of the quick suite, which has a minute and a half.
pytestmark = pytest.mark.whole

CPU = torch.device("cpu")
IDS = torch.arange(48)[None] * 5 % 290


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "measure_in_fresh_process", measure_in_this_process)


def qlora(bits: int) -> QloraMethod:
    return QloraMethod(rank=8, alpha=16, bits=bits)  # type: ignore[arg-type]


@pytest.mark.parametrize("double", [True, False])
def test_the_dequantized_nf4_base_answers_as_the_quantized_one(tiny_base: Path, double: bool) -> None:
    method = QloraMethod(rank=8, bits=4, double_quantization=double)
    quantized = load_base(tiny_base, dtype=torch.float32, device=CPU, attention="sdpa", quantization=method)
    with torch.no_grad():
        truth = quantized(input_ids=IDS).logits
    plain = dequantize(
        load_base(tiny_base, dtype=torch.float32, device=CPU, attention="sdpa", quantization=method)
    )
    assert not is_quantized(plain)
    with torch.no_grad():
        assert (plain(input_ids=IDS).logits - truth).abs().max() < 1e-4


def test_dequantized_int8_weights_are_the_codes_times_their_scales(tiny_base: Path) -> None:
    method = qlora(8)
    quantized = load_base(tiny_base, dtype=torch.float32, device=CPU, attention="sdpa", quantization=method)
    layer = quantized.model.layers[0].mlp.up_proj
    by_hand = layer.weight.data.double() * layer.weight.SCB.double()[:, None] / 127
    plain = dequantize(quantized)
    assert (plain.model.layers[0].mlp.up_proj.weight.double() - by_hand).abs().max() < 1e-6


@pytest.mark.parametrize("bits", [4, 8])
def test_a_quantized_adapter_merges_exactly_into_the_base_that_it_saw(
    bits: int, tiny_base: Path, tmp_path: Path
) -> None:
    recipe, run = make_finished_run(tmp_path / "run", tiny_base, qlora(bits))
    report = merge(recipe, run)
    assert report.base == "seen"
    assert report.max_logit_difference < 1e-4
    assert report.kl_to_quantized is not None
    assert report.kl_to_quantized < (1e-9 if bits == 4 else recipe.merge.most_kl)
    merged = AutoModelForCausalLM.from_pretrained(report.folder)
    assert not is_quantized(merged)
    assert not hasattr(merged.config, "quantization_config")


def test_the_original_base_is_another_one_and_both_gates_are_reported(
    tiny_base: Path, tmp_path: Path
) -> None:
    recipe, run = make_finished_run(
        tmp_path / "run",
        tiny_base,
        qlora(4),
        merge={"base": "original", "most_kl": 10.0, "most_metric_loss": 1.0},
    )
    report = merge(recipe, run)
    assert report.base == "original"
    assert report.max_logit_difference > 1e-4, "the original weights are not the quantized ones"
    assert 0 < report.mean_kl < 10
    assert report.difference_before_rounding is not None
    assert report.difference_before_rounding < 1e-4
    assert report.metric == "exact_match"
    assert report.metric_before is not None
    assert report.metric_after is not None


def test_an_original_base_too_far_from_the_seen_one_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    recipe, run = make_finished_run(
        tmp_path / "run", tiny_base, qlora(4), merge={"base": "original", "most_kl": 1e-6}
    )
    with pytest.raises(GateError) as caught:
        merge(recipe, run)
    assert "merge.most_kl = 1e-06" in caught.value.render()
    assert "merge.base=seen" in caught.value.fix
    assert not (run.stage("merge") / "model").exists()


def test_a_fall_of_the_task_metric_is_refused_with_both_figures(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, run = make_finished_run(
        tmp_path / "run", tiny_base, qlora(4), merge={"base": "original", "most_kl": 10.0}
    )
    # The adapter model answers every question as expected, the merged one as a model of random weights does.
    right = [list(range(40, 44))] * 4
    monkeypatch.setattr(stage, "answer", lambda bench, model: right)
    scores = {True: {"exact_match": 1.0}, False: {"exact_match": 0.25}}
    monkeypatch.setattr(stage, "score", lambda bench, answers: scores[answers is right])
    with pytest.raises(GateError) as caught:
        merge(recipe, run)
    assert "exact_match falls from 1.0000 to 0.2500" in caught.value.render()
    assert not (run.stage("merge") / "model").exists()


def test_a_run_in_bf16_merges_into_the_rounded_numbers_that_it_saw(tmp_path: Path) -> None:
    base = make_tiny_model(tmp_path / "base", dtype=torch.bfloat16)
    recipe, run = make_finished_run(
        tmp_path / "run", base, qlora(4), precision="bf16", merge={"dtype": "fp32"}
    )
    report = merge(recipe, run)
    assert report.dtype == "fp32"
    assert report.max_logit_difference < 1e-4
    assert report.kl_to_quantized is not None
    assert 0 < report.kl_to_quantized < 0.02
