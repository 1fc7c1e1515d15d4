"""The arithmetic of a merge: weights by hand, logits by the adapter model."""

import copy
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from luthier.config.method import LoraMethod
from luthier.export.merge import merge_adapter
from luthier.modelling.adapters import add_adapter
from tests.tiny import Family, make_tiny

IDS = torch.arange(48)[None] * 5 % 290


def adapted(
    method: LoraMethod, family: Family = "qwen2", *, tied: bool = True, spread: float = 0.05
) -> PeftModel:
    """A tiny model with an adapter whose weights are random."""
    return moved(add_adapter(make_tiny(family, tie_embeddings=tied), method, seed=1).eval(), spread)


def moved(model: PeftModel, spread: float = 0.05) -> PeftModel:
    """Every trained weight moved at random."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += spread * torch.randn(parameter.shape, generator=generator)
    return model


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS, use_cache=False).logits


VARIANTS = {
    "lora": LoraMethod(rank=8, alpha=16),
    "rslora": LoraMethod(rank=8, alpha=16, rslora=True),
    "dora": LoraMethod(rank=8, alpha=16, dora=True),
    "all-linear": LoraMethod(rank=4, alpha=8, targets=("all-linear",)),
    "embeddings": LoraMethod(rank=8, alpha=16, trained_modules=("embed_tokens",)),
    "head": LoraMethod(rank=8, alpha=16, trained_modules=("lm_head",)),
    "embeddings and head": LoraMethod(rank=8, alpha=16, trained_modules=("embed_tokens", "lm_head")),
    "adapter on the head": LoraMethod(rank=8, alpha=16, targets=("q_proj", "lm_head")),
}


@pytest.mark.parametrize(("family", "tied"), [("qwen2", True), ("llama", False)])
@pytest.mark.parametrize("name", VARIANTS)
def test_merged_weights_answer_as_the_adapter_within_1e_4(name: str, family: Family, tied: bool) -> None:
    model = adapted(VARIANTS[name], family, tied=tied)
    without = logits(make_tiny(family, tie_embeddings=tied))
    with_adapter = logits(model)
    merged = merge_adapter(model)
    assert (with_adapter - without).abs().max() > 0.05, (
        "the adapter changes nothing, so the test proves nothing"
    )
    assert (logits(merged) - with_adapter).abs().max() < 1e-4
    assert not any("lora" in key for key, _ in merged.named_parameters())


@pytest.mark.parametrize(("rslora", "scaling"), [(False, 16 / 8), (True, 16 / 8**0.5)])
def test_a_merged_weight_is_the_base_plus_the_scaled_product(rslora: bool, scaling: float) -> None:
    model = adapted(LoraMethod(rank=8, alpha=16, rslora=rslora))
    layer = model.base_model.model.model.layers[0].mlp.down_proj
    base, first, second = (
        part.detach().double()
        for part in (layer.base_layer.weight, layer.lora_A.default.weight, layer.lora_B.default.weight)
    )
    by_hand = base + scaling * second @ first
    merged = merge_adapter(model)
    found = merged.model.layers[0].mlp.down_proj.weight.double()
    assert (found - by_hand).abs().max() < 1e-6


def test_a_bf16_base_is_merged_in_fp32_and_rounded_once() -> None:
    model = adapted(LoraMethod(rank=8, alpha=16))
    rounded = copy.deepcopy(model)
    rounded.base_model.model.to(torch.bfloat16)
    for module in rounded.modules():
        if hasattr(module, "lora_A"):
            module.lora_A.float()
            module.lora_B.float()
    layer = rounded.base_model.model.model.layers[1].self_attn.q_proj
    by_hand = layer.base_layer.weight.detach().double() + 2 * (
        layer.lora_B.default.weight.detach().double() @ layer.lora_A.default.weight.detach().double()
    )
    merged = merge_adapter(rounded).model.layers[1].self_attn.q_proj.weight
    assert merged.dtype == torch.bfloat16
    assert torch.equal(merged, by_hand.to(torch.bfloat16))


def test_merging_an_adapter_of_zeros_changes_nothing() -> None:
    base = make_tiny()
    merged = merge_adapter(add_adapter(make_tiny(), LoraMethod(rank=8), seed=1))
    for (name, before), after in zip(base.named_parameters(), merged.parameters(), strict=True):
        assert torch.equal(before, after), name


@pytest.mark.parametrize("name", ["lora", "embeddings", "head"])
def test_embeddings_that_are_trained_as_one_matrix_stay_one(name: str) -> None:
    merged = merge_adapter(adapted(VARIANTS[name]))
    assert merged.config.tie_word_embeddings is True
    assert merged.get_input_embeddings().weight is merged.get_output_embeddings().weight


@pytest.mark.parametrize("module", ["embed_tokens", "lm_head"])
def test_embeddings_that_an_adapter_of_another_tool_parts_are_untied(module: str) -> None:
    config = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj"], modules_to_save=[module])
    model = moved(get_peft_model(make_tiny(), config).eval())
    with_adapter = logits(model)
    merged = merge_adapter(model)
    assert merged.config.tie_word_embeddings is False
    assert not torch.equal(merged.get_input_embeddings().weight, merged.get_output_embeddings().weight)
    assert (logits(merged) - with_adapter).abs().max() < 1e-4


def test_an_adapter_on_a_tied_head_leaves_the_input_embeddings_alone() -> None:
    config = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "lm_head"])
    model = moved(get_peft_model(make_tiny(), config).eval())
    with_adapter = logits(model)
    merged = merge_adapter(model)
    assert (logits(merged) - with_adapter).abs().max() < 1e-4
    assert torch.equal(merged.get_input_embeddings().weight, make_tiny().get_input_embeddings().weight)


def test_a_merged_weight_that_is_no_number_is_refused(tmp_path: Path) -> None:
    from luthier.floor.errors import ModelError

    model = adapted(LoraMethod(rank=8))
    with torch.no_grad():
        model.base_model.model.model.layers[1].mlp.up_proj.lora_B.default.weight[3, 3] = float("inf")
    with pytest.raises(ModelError) as caught:
        merge_adapter(model)
    assert caught.value.code == "mdl-nan"
    assert "layers.1.mlp.up_proj" in caught.value.what
