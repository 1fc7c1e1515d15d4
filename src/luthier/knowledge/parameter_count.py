"""How many numbers a model has, from config.json alone: the count that Transformers would give, without building anything.

Linear modules and embeddings follow from the sizes; what is left, norms and biases, differs by family and is the table here.
tests/knowledge builds every family with the installed Transformers on the meta device and holds the counts against each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from luthier.knowledge.model_config import text_config
from luthier.knowledge.training_memory import DecoderShape


@dataclass(frozen=True)
class SmallParts:
    """What a family has beside its matrices."""

    layer_norms: int = 2
    """Vectors of the model's width in each layer."""
    final_norms: int = 1
    """After the last layer."""
    norm_vectors: int = 1
    """2 where a norm has a bias, too."""
    query_key_norms: str = ""
    """`head` for a norm over each head's width, `whole` for one over all heads."""
    bias: str = ""
    """`attention` for biases on queries, keys and values, `all` for every linear module of a layer."""
    bias_key: str = ""
    """The setting of config.json that says so, where there is one."""
    attention_bias_key: str = ""
    """With `all`: the setting for attention's biases alone; the others are always there."""
    output_bias_key: str = ""
    """The setting for a bias on attention's output where queries, keys and values have their own."""
    extra_per_layer: int = 0
    head_has_bias: bool = False


# Biases on all four projections of attention, if config.json asks for them: as Transformers' Llama, and what was modelled on it.
AS_LLAMA = SmallParts(bias="attention", bias_key="attention_bias", output_bias_key="attention_bias")
SMALL_PARTS: Mapping[str, SmallParts] = {
    "llama": AS_LLAMA,
    "mistral": SmallParts(),
    "ministral": SmallParts(),
    "qwen2": SmallParts(bias="attention"),
    "qwen3": replace(AS_LLAMA, query_key_norms="head"),
    "gemma": AS_LLAMA,
    "gemma2": replace(AS_LLAMA, layer_norms=4),
    "gemma3_text": replace(AS_LLAMA, layer_norms=4, query_key_norms="head"),
    "smollm3": AS_LLAMA,
    "olmo": replace(AS_LLAMA, layer_norms=0, final_norms=0),
    "olmo2": replace(AS_LLAMA, query_key_norms="whole"),
    "olmo3": replace(AS_LLAMA, query_key_norms="whole"),
    "granite": AS_LLAMA,
    "helium": replace(AS_LLAMA, output_bias_key=""),
    "stablelm": SmallParts(norm_vectors=2, bias="attention", bias_key="use_qkv_bias"),
    "cohere": replace(AS_LLAMA, layer_norms=1),
    "cohere2": replace(AS_LLAMA, layer_norms=1),
    "exaone4": SmallParts(query_key_norms="head"),
    "seed_oss": replace(AS_LLAMA, output_bias_key="attention_out_bias"),
    "arcee": AS_LLAMA,
    "nemotron": replace(AS_LLAMA, norm_vectors=2),
    "apertus": replace(AS_LLAMA, query_key_norms="head", extra_per_layer=2),
    "phi": SmallParts(layer_norms=1, norm_vectors=2, bias="all", head_has_bias=True),
    "phi3": SmallParts(),
    "glm": replace(AS_LLAMA, output_bias_key=""),
    "glm4": replace(AS_LLAMA, layer_norms=4, output_bias_key=""),
    "starcoder2": SmallParts(norm_vectors=2, bias="all", bias_key="use_bias"),
    "gpt_neox": SmallParts(norm_vectors=2, bias="all", attention_bias_key="attention_bias"),
}
# Where config.json leaves the setting out.
BIAS_BY_DEFAULT = frozenset({"seed_oss", "glm", "glm4", "starcoder2", "gpt_neox"})


def count_parameters(config: Mapping[str, Any], shape: DecoderShape) -> int:
    """The numbers of a causal language model; of a family without a row, those of a Llama of the sizes."""
    text = text_config(dict(config))
    family = str(text.get("model_type") or config.get("model_type"))
    parts = SMALL_PARTS.get(family, SMALL_PARTS["llama"])
    count = shape.linear_weights + shape.embedding_weights
    vectors = parts.layer_norms * shape.layers + parts.final_norms
    count += vectors * parts.norm_vectors * shape.width
    count += shape.layers * (_query_key_norms(parts, text, shape) + _biases(parts, text, shape, family))
    count += shape.layers * parts.extra_per_layer
    return count + (shape.vocabulary if parts.head_has_bias else 0)


def _query_key_norms(parts: SmallParts, text: Mapping[str, Any], shape: DecoderShape) -> int:
    if parts.query_key_norms == "whole":
        return shape.query_width + shape.key_width
    return 2 * shape.query_width // text["num_attention_heads"] if parts.query_key_norms else 0


def _biases(parts: SmallParts, text: Mapping[str, Any], shape: DecoderShape, family: str) -> int:
    def is_set(key: str) -> bool:
        return bool(text.get(key, family in BIAS_BY_DEFAULT))

    attention = shape.query_width + 2 * shape.key_width
    feed_forward = (shape.feed_forward_matrices - 1) * shape.intermediate + shape.width
    by_setting = feed_forward if text.get("mlp_bias") else 0
    if not parts.bias or (parts.bias_key and not is_set(parts.bias_key)):
        return by_setting
    if parts.bias == "all":
        has_attention = not parts.attention_bias_key or is_set(parts.attention_bias_key)
        return feed_forward + (attention + shape.width if has_attention else 0)
    has_output = bool(parts.output_bias_key) and bool(text.get(parts.output_bias_key, False))
    return by_setting + attention + (shape.width if has_output else 0)
