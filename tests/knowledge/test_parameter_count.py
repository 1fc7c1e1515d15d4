"""Counts from config.json alone are Transformers' own, family by family, on the meta device."""

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from luthier.knowledge.families import FAMILIES
from luthier.knowledge.parameter_count import SMALL_PARTS, count_parameters
from luthier.knowledge.shapes import SHAPES
from luthier.knowledge.training_memory import DecoderShape

SIZES = {
    "hidden_size": 96,
    "intermediate_size": 136,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 130,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
# Settings that change the count where a family has them.
VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"attention_bias": True, "use_qkv_bias": True},
    {"attention_bias": False, "use_bias": False},
    {"mlp_bias": True},
    {"tie_word_embeddings": True},
    {"tie_word_embeddings": False},
)


def count_of_transformers(model_type: str, settings: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    config = AutoConfig.for_model(model_type, **settings)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return sum(parameter.numel() for parameter in model.parameters()), config.to_dict()


@pytest.mark.parametrize("model_type", sorted(FAMILIES))
def test_every_family_is_counted_as_transformers_counts_it(model_type: str) -> None:
    # GPT-NeoX has no grouped heads.
    sizes = {name: value for name, value in SIZES.items() if model_type != "gpt_neox" or name != "num_key_value_heads"}  # fmt: skip
    for variant in VARIANTS:
        known = AutoConfig.for_model(model_type).to_dict()
        settings = sizes | {
            key: value for key, value in variant.items() if key in known or key.startswith("tie")
        }
        expected, config = count_of_transformers(model_type, settings)
        shape = DecoderShape.of(config)
        assert shape is not None
        assert count_parameters(config, shape) == expected, (model_type, variant)


def test_every_family_has_its_small_parts() -> None:
    assert set(SMALL_PARTS) == set(FAMILIES)


@pytest.mark.parametrize(
    ("name", "parameters"),
    # As their model cards say: 494,032,768, 1,235,814,400 and 8,030,261,248.
    [("qwen2.5-0.5b", 494_032_768), ("llama-3.2-1b", 1_235_814_400), ("llama-3.1-8b", 8_030_261_248)],
)
def test_published_models_have_their_published_counts(name: str, parameters: int) -> None:
    shape = DecoderShape.of(SHAPES[name])
    assert shape is not None
    assert count_parameters(SHAPES[name], shape) == parameters
