"""Every fact of every row, against the installed Transformers: tiny models on the meta device, which takes no memory."""

from functools import cache

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from luthier.knowledge.families import FAMILIES, Family, find_family

SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

every_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)


@cache
def build(model_type: str) -> PreTrainedModel:
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **SHAPE))


def linears_of_a_layer(family: Family) -> set[str]:
    layer = build(family.model_type).get_submodule(family.layers)[0]
    return {
        name.rsplit(".", 1)[-1]
        for name, module in layer.named_modules()
        if isinstance(module, torch.nn.Linear)
    }


@every_family
def test_the_layers_lie_where_the_row_says(family: Family) -> None:
    layers = build(family.model_type).get_submodule(family.layers)
    assert isinstance(layers, torch.nn.ModuleList)
    assert len(layers) == SHAPE["num_hidden_layers"]


@every_family
def test_targets_are_all_linear_modules_of_a_layer_and_no_other(family: Family) -> None:
    assert set(family.targets) == linears_of_a_layer(family)
    assert len(set(family.targets)) == len(family.targets)


@every_family
def test_attention_and_feed_forward_are_told_apart(family: Family) -> None:
    layer = build(family.model_type).get_submodule(family.layers)[0]
    inside_attention = {
        name.rsplit(".", 1)[-1]
        for name, module in layer.named_modules()
        if isinstance(module, torch.nn.Linear) and "attention" in name.replace("self_attn", "attention")
    }
    assert inside_attention == set(family.attention)


@every_family
def test_the_head_is_the_output_embedding(family: Family) -> None:
    model = build(family.model_type)
    assert model.get_submodule(family.head) is model.get_output_embeddings()


@every_family
def test_embeddings_are_tied_by_default_where_the_row_says(family: Family) -> None:
    assert AutoConfig.for_model(family.model_type).tie_word_embeddings == family.ties_embeddings_by_default


@every_family
def test_queries_and_keys_are_normed_where_the_row_says(family: Family) -> None:
    names = {name.rsplit(".", 1)[-1] for name, _ in build(family.model_type).named_modules()}
    assert ({"q_norm", "k_norm"} <= names) == family.normalizes_queries_and_keys


@every_family
def test_logits_are_capped_where_the_row_says(family: Family) -> None:
    config = AutoConfig.for_model(family.model_type).to_dict()
    caps = [config.get(key) for key in ("attn_logit_softcapping", "final_logit_softcapping")]
    assert all(caps) == family.caps_logits
    assert any(caps) == family.caps_logits


def test_the_table_is_found_by_model_type() -> None:
    assert find_family("qwen2") == FAMILIES["qwen2"]
    assert find_family("no_such_family") is None
    assert len(FAMILIES) >= 25
