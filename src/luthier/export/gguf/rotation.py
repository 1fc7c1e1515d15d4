"""What a model's configuration says of rotary positions, in the file's keys and tensors.

Scaling as in Transformers' modeling_rope_utils.py; `llama3` becomes the tensor rope_freqs (a divisor for each frequency), the others keys.
"""

import math
from typing import Any

from luthier.export.gguf.container import Key
from luthier.export.gguf.weights import MadeTensor
from luthier.floor.errors import ModelError
from luthier.knowledge.gguf_families import GgufFamily

# RoPE types that need no key: plain, and the one that becomes a tensor.
WITHOUT_KEYS = ("default", "llama3")


def rotation_keys(family: GgufFamily, config: dict[str, Any]) -> list[Key]:
    """The keys of rotation. Raises ModelError gguf-family for a scaling that llama.cpp has not."""
    name = family.architecture
    whole, windowed = _parameters(config)
    kind = whole.get("rope_type", "default")
    keys = [Key(f"{name}.rope.freq_base", float(whole["rope_theta"]))]
    if windowed is not None and windowed["rope_theta"] != whole["rope_theta"]:
        keys.append(Key(f"{name}.rope.freq_base_swa", float(windowed["rope_theta"])))
    if windowed is not None and windowed.get("rope_type", "default") != "default":
        raise _unknown(f"{windowed['rope_type']} in layers with a window")
    if family.rope_dimensions_are_named:
        keys.append(Key(f"{name}.rope.dimension_count", rotated_dimensions(config)))
    if kind in WITHOUT_KEYS:
        return keys
    keys.append(Key(f"{name}.rope.scaling.type", kind))
    if kind == "linear":
        keys.append(Key(f"{name}.rope.scaling.factor", float(whole["factor"])))
    elif kind == "yarn":
        keys += _yarn(name, whole, config)
    elif kind == "longrope":
        keys += _longrope(name, whole, config)
    else:
        raise _unknown(str(kind))
    return keys


def rotation_tensors(family: GgufFamily, config: dict[str, Any]) -> list[MadeTensor]:
    """The tensors of rotation that the file needs and the folder does not hold."""
    whole, _ = _parameters(config)
    kind = whole.get("rope_type", "default")
    if kind == "llama3":
        return [MadeTensor("rope_freqs.weight", tuple(_llama3_divisors(whole, rotated_dimensions(config))))]
    if kind == "longrope":
        return [
            MadeTensor("rope_factors_long.weight", tuple(map(float, whole["long_factor"]))),
            MadeTensor("rope_factors_short.weight", tuple(map(float, whole["short_factor"]))),
        ]
    return []


def rotated_dimensions(config: dict[str, Any]) -> int:
    """How many numbers of a head are rotated."""
    whole, _ = _parameters(config)
    share = whole.get("partial_rotary_factor", config.get("partial_rotary_factor")) or 1.0
    return int(head_dimensions(config) * share)


def head_dimensions(config: dict[str, Any]) -> int:
    """The width of a head."""
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def _parameters(config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Of layers that attend to everything, and of those with a window where they have their own."""
    found: dict[str, Any] = config["rope_parameters"]
    if "full_attention" in found:
        return found["full_attention"], found.get("sliding_attention")
    return found, None


def _yarn(name: str, whole: dict[str, Any], config: dict[str, Any]) -> list[Key]:
    """YaRN (arXiv 2309.00071). llama.cpp works its attention factor, 0.1 ln(factor) + 1, out itself: another one is refused."""
    factor = float(whole["factor"])
    given = whole.get("attention_factor")
    if given is not None and not math.isclose(given, 0.1 * math.log(factor) + 1, rel_tol=1e-6):
        raise _unknown(f"yarn with attention_factor = {given}")
    if whole.get("mscale") or whole.get("mscale_all_dim") or whole.get("truncate") is False:
        raise _unknown("yarn with mscale or without truncation")
    original = whole.get("original_max_position_embeddings") or config["max_position_embeddings"]
    return [
        Key(f"{name}.rope.scaling.factor", factor),
        Key(f"{name}.rope.scaling.original_context_length", int(original)),
        Key(f"{name}.rope.scaling.yarn_beta_fast", float(whole.get("beta_fast") or 32)),
        Key(f"{name}.rope.scaling.yarn_beta_slow", float(whole.get("beta_slow") or 1)),
    ]


def _longrope(name: str, whole: dict[str, Any], config: dict[str, Any]) -> list[Key]:
    """LongRoPE (arXiv 2402.13753), Phi-3's: two lists of divisors and a factor on queries and keys."""
    most, original = config["max_position_embeddings"], whole["original_max_position_embeddings"]
    scale = most / original
    factor = whole.get("attention_factor") or (
        math.sqrt(1 + math.log(scale) / math.log(original)) if scale > 1 else 1.0
    )
    return [
        Key(f"{name}.rope.scaling.original_context_length", int(original)),
        Key(f"{name}.rope.scaling.attn_factor", float(factor)),
    ]


def _llama3_divisors(whole: dict[str, Any], dimensions: int) -> list[float]:
    """By how much each frequency is divided: long waves by `factor`, short ones by 1, those between by something between.

    After Transformers' _compute_llama3_parameters.
    """
    factor, low, high = whole["factor"], whole["low_freq_factor"], whole["high_freq_factor"]
    context = whole["original_max_position_embeddings"]
    divisors = []
    for place in range(0, dimensions, 2):
        wavelength = 2 * math.pi * whole["rope_theta"] ** (place / dimensions)
        if wavelength < context / high:
            divisors.append(1.0)
        elif wavelength > context / low:
            divisors.append(float(factor))
        else:
            smooth = (context / wavelength - low) / (high - low)
            divisors.append(1 / ((1 - smooth) / factor + smooth))
    return divisors


def _unknown(kind: str) -> ModelError:
    return ModelError(
        "gguf-family",
        f"Luthier writes no GGUF file with RoPE scaling {kind}",
        where="config.json: rope_parameters",
        why="The positions would be rotated otherwise than in training.",
        fix="Serve the merged folder with another engine.",
    )
