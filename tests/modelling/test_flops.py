"""The arithmetic of a training step, counted by hand for a tiny model: 4 FLOPs a frozen weight, 6 a trained one, none for a look-up."""

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from luthier.config.method import LoraMethod, QloraMethod
from luthier.modelling.adapters import add_adapter
from luthier.modelling.flops import training_flops_per_token
from luthier.modelling.load import load_base
from tests.tiny import make_tiny

# tests/tiny.py: width 64, two layers, four query and two key heads of 16, a feed-forward part of 128, 300 tokens.
LAYERS = 2 * (64 * 64 * 2 + 64 * 32 * 2 + 64 * 128 * 3)
HEAD = 64 * 300


@pytest.mark.parametrize("is_tied", [True, False])
def test_a_trained_model_costs_six_flops_a_weight_and_its_input_embedding_none(is_tied: bool) -> None:
    assert training_flops_per_token(make_tiny(tie_embeddings=is_tied)) == 6 * (LAYERS + HEAD)


def test_a_frozen_model_costs_four_flops_a_weight() -> None:
    assert training_flops_per_token(make_tiny().requires_grad_(False)) == 4 * (LAYERS + HEAD)


def test_adapters_cost_six_and_the_base_below_them_four() -> None:
    model = add_adapter(make_tiny(), LoraMethod(rank=8, targets=("q_proj",)), seed=0)
    assert training_flops_per_token(model) == 4 * (LAYERS + HEAD) + 6 * 2 * (64 * 8 + 8 * 64)


def test_a_head_trained_whole_is_counted_once_and_not_beside_its_frozen_original() -> None:
    method = LoraMethod(rank=8, targets=("q_proj",), trained_modules=("lm_head",))
    model = add_adapter(make_tiny(tie_embeddings=False), method, seed=0)
    assert training_flops_per_token(model) == 4 * LAYERS + 6 * HEAD + 6 * 2 * (64 * 8 + 8 * 64)


@pytest.mark.parametrize("bits", [4, 8])
def test_codes_count_as_the_weights_they_stand_for(tiny_base: Path, bits: int) -> None:
    quantization = QloraMethod(bits=bits)  # type: ignore[arg-type]
    model = load_base(
        tiny_base,
        dtype=torch.float32,
        device=torch.device("cpu"),
        attention="sdpa",
        quantization=quantization,
    )
    model.requires_grad_(False)
    assert training_flops_per_token(model) == 4 * (LAYERS + HEAD)


@pytest.mark.oracle
def test_torch_counts_the_same_products_in_a_step() -> None:
    """But for attention's own products, which torch counts apart."""
    model = make_tiny(layers=6)
    ids = torch.arange(32)[None]
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids).logits.sum().backward()
    products = sum(
        counter.get_flop_counts()["Global"][op] for op in (torch.ops.aten.mm, torch.ops.aten.addmm)
    )
    assert training_flops_per_token(model) * 32 == pytest.approx(products, rel=0.01)
