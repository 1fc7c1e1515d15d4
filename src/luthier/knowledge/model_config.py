"""Read a model folder's config.json as hostile input, before any library builds something from it.

A configuration can ask for code (`auto_map`), for a kernel fetched from the hub (`attn_implementation`), or for a size that hangs
the machine. All three are refused here; what remains is plain numbers and names. No torch, no transformers.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from luthier.floor.errors import ModelError
from luthier.knowledge.hostile_json import read_object

MOST_DEPTH = 32

# Attention kernels that ship with Transformers. Any other name is looked up on the hub and its code run.
KNOWN_ATTENTION = frozenset({"eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"})
KERNEL_KEYS = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal")
EXPERT_KERNEL_KEYS = ("experts_implementation", "_experts_implementation", "_experts_implementation_internal")
KNOWN_EXPERTS = frozenset({"eager", "batched_mm", "grouped_mm"})

# The largest published models (2026) have 126 layers, a width of 53,248 and a vocabulary of 262,144: room above each.
MOST_OF = {
    "num_hidden_layers": 2_000,
    "hidden_size": 2**18,
    "intermediate_size": 2**20,
    "num_attention_heads": 2**12,
    "num_key_value_heads": 2**12,
    "head_dim": 2**14,
    "vocab_size": 2**24,
    "max_position_embeddings": 2**28,
    # What other architectures call the same.
    "n_layer": 2_000,
    "n_layers": 2_000,
    "num_layers": 2_000,
    "n_embd": 2**18,
    "d_model": 2**18,
    "n_inner": 2**20,
    "ffn_dim": 2**20,
    "n_head": 2**12,
    "n_positions": 2**28,
    # Experts of a layer: the most published is 512.
    "num_experts": 2**12,
    "num_local_experts": 2**12,
    "n_routed_experts": 2**12,
    # Labels of a classifier, of which a language model has none: Transformers makes a table of them, slowly.
    "num_labels": 2**16,
}
NUMBER_FORMATS = frozenset({"float32", "float16", "bfloat16", "float64", "auto"})


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration of a model folder, judged: sizes in range, nothing that runs code.

    Raises ModelError mdl-config, mdl-code, mdl-path or mdl-size.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(
            "mdl-config",
            f"there is no config.json in {folder}",
            where=str(folder),
            why=_what_it_is_instead(folder),
            fix="Name a model folder: one with config.json, tokenizer files and *.safetensors.",
        )
    config = read_object(path, folder, code="mdl-config")
    for section, place in _sections(config, "config.json"):
        _refuse_code(section, place)
        _refuse_other_weights(section, place)
        _check_numbers(section, place)
        _check_sizes(section, place)
    if not isinstance(config.get("model_type"), str) or not config["model_type"]:
        raise ModelError(
            "mdl-config",
            f"config.json says model_type = {_short(config.get('model_type'))}",
            where=str(path),
            why="The model type names the architecture, such as llama or qwen2.",
            fix="Take the folder from where the model was published.",
        )
    _check_format(config, folder)
    return config


def text_config(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a configuration that describes the language model: multimodal models nest it."""
    nested = config.get("text_config")
    return nested if isinstance(nested, dict) else config


def _what_it_is_instead(folder: Path) -> str:
    if (folder / "adapter_config.json").is_file():
        return "It holds an adapter; a recipe names the base model, and the adapter's own run is evaluated with --run."
    if any(folder.glob("*.gguf")):
        return "It holds a GGUF file, which can be served but not trained: name the original model."
    return "Without it nothing says what the weights are."


def _sections(value: Any, place: str, depth: int = 0) -> Iterator[tuple[dict[str, Any], str]]:
    """The configuration and every object in it, with where each stands."""
    if depth > MOST_DEPTH:
        raise ModelError(
            "mdl-config", f"config.json is nested deeper than {MOST_DEPTH} levels", where=place[:200]
        )
    if isinstance(value, dict):
        yield value, place
        for key, inner in value.items():
            yield from _sections(
                inner, f"{place}: {key}" if place == "config.json" else f"{place}.{key}", depth + 1
            )
    elif isinstance(value, list):
        for inner in value:
            yield from _sections(inner, place, depth + 1)


def _refuse_code(section: dict[str, Any], place: str) -> None:
    if section.get("auto_map"):
        raise ModelError(
            "mdl-code",
            f"the model asks to run code of its own: auto_map = {_short(section['auto_map'])}",
            where=place,
            why="Luthier never runs code from a model folder.",
            fix="Take a model that Transformers knows, or remove auto_map if its architecture is among those.",
        )
    for keys, known in ((KERNEL_KEYS, KNOWN_ATTENTION), (EXPERT_KERNEL_KEYS, KNOWN_EXPERTS)):
        for key in keys:
            value = section.get(key)
            if value is not None and (not isinstance(value, str) or value not in known):
                raise ModelError(
                    "mdl-code",
                    f"the configuration names a kernel: {key} = {_short(value)}",
                    where=place,
                    why="A name that Transformers does not know is fetched from the hub and its code run.",
                    fix=f"Remove {key} from config.json; the recipe chooses with model.attention.",
                )


def _refuse_other_weights(section: dict[str, Any], place: str) -> None:
    """Transformers would load the file that this key names, and not the one that was judged."""
    if section.get("transformers_weights") is not None:
        raise ModelError(
            "mdl-path",
            f"the configuration names other weights: transformers_weights = {_short(section['transformers_weights'])}",
            where=place,
            why="A model's weights are model.safetensors, or what model.safetensors.index.json lists.",
            fix="Remove transformers_weights from config.json, or take the model from where it was published.",
        )


def _check_numbers(section: dict[str, Any], place: str) -> None:
    for key, value in section.items():
        numbers = value if isinstance(value, list) else [value]
        if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
            raise _bad_value(place, key, value, "must be a finite number")
        if any(isinstance(number, int) and abs(number) >= 2**63 for number in numbers):
            raise _bad_value(place, key, value, "must fit into 64 bits")
    for key in ("rope_theta", "factor", "original_max_position_embeddings", "rms_norm_eps", "layer_norm_eps"):
        value = section.get(key)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise _bad_value(place, key, value, "must be a positive number")


def _check_sizes(section: dict[str, Any], place: str) -> None:
    for key, most in MOST_OF.items():
        value = section.get(key)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise _bad_value(place, key, value, "must be a whole number of at least 1")
        if value > most:
            raise _too_large(place, key, value, f"the largest that Luthier builds is {most:,}")
    hidden, heads = section.get("hidden_size"), section.get("num_attention_heads")
    if hidden and heads and section.get("head_dim") is None and hidden % heads:
        raise _bad_value(place, "hidden_size", hidden, f"must be divisible by num_attention_heads = {heads}")
    kv_heads = section.get("num_key_value_heads")
    if heads and kv_heads and heads % kv_heads:
        raise _bad_value(
            place, "num_attention_heads", heads, f"must be divisible by num_key_value_heads = {kv_heads}"
        )


def _check_format(config: dict[str, Any], folder: Path) -> None:
    for key in ("dtype", "torch_dtype"):
        value = config.get(key)
        if value is not None and (not isinstance(value, str) or value not in NUMBER_FORMATS):
            raise _bad_value("config.json", key, value, f"must be one of {', '.join(sorted(NUMBER_FORMATS))}")
    quantization = config.get("quantization_config")
    if quantization is not None:
        method = quantization.get("quant_method") if isinstance(quantization, dict) else quantization
        raise ModelError(
            "mdl-config",
            f"the weights are quantized already: quant_method = {_short(method)}",
            where=str(folder / "config.json"),
            why="Luthier starts from full-precision weights and quantizes them itself, so that it knows what it trains over.",
            fix="Name the model these weights were made from; method.kind=qlora keeps it in 4 bits.",
        )


def check_against_weights(config: dict[str, Any], *, tensors: int, parameters: int, where: str) -> None:
    """Refuse a configuration that describes a model far larger than its weights: building it would hang the machine."""
    section = text_config(config)
    layers = section.get("num_hidden_layers")
    if layers and layers > tensors:
        raise _too_large(where, "num_hidden_layers", layers, f"the weights hold {tensors} tensors in all")
    hidden, vocabulary = section.get("hidden_size"), section.get("vocab_size")
    if hidden and vocabulary and hidden * vocabulary > parameters:
        key, value = ("vocab_size", vocabulary) if vocabulary > hidden else ("hidden_size", hidden)
        raise _too_large(
            where,
            key,
            value,
            f"its embedding alone would be larger than all {parameters:,} numbers of the weights",
        )


def _bad_value(place: str, key: str, value: Any, rule: str) -> ModelError:
    return ModelError(
        "mdl-config",
        f"{key} = {_short(value)} {rule}",
        where=place,
        fix="Take config.json again from where the model was published.",
    )


def _too_large(place: str, key: str, value: int, why: str) -> ModelError:
    return ModelError(
        "mdl-size",
        f"{key} = {value:,} describes a model too large to build: {why}",
        where=place,
        fix="Take config.json again from where the model was published.",
    )


def _short(value: Any) -> str:
    """A value for a message: its JSON, cut."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else text[:77] + "..."
