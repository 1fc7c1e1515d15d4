"""Judge an adapter folder before PEFT sees it: what its configuration asks for, and what its weights hold.

An adapter from elsewhere can ask for a rank that exhausts memory, an alpha that makes every logit NaN, a pattern that never ends, or a
variant that Luthier would apply wrongly. Only keys whose meaning is known pass. No torch, no peft.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.floor.errors import ModelError
from luthier.knowledge.containment import is_inside
from luthier.knowledge.hostile_json import read_object
from luthier.knowledge.safetensors_header import TensorFact, read_header

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
ORIGIN_FILE = "luthier.json"

MOST_RANK = 8192
MOST_ALPHA = 1e6
# The tensors whose first axis is the rank, as PEFT names them.
RANK_FIRST = (".lora_A.weight", ".lora_embedding_A")
MODULE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.]{0,200}")

# What changes the adapter's result, and is applied as PEFT applies it.
APPLIED_KEYS = frozenset(
    {
        "r",
        "lora_alpha",
        "lora_dropout",
        "target_modules",
        "modules_to_save",
        "use_rslora",
        "use_dora",
        "rank_pattern",
        "alpha_pattern",
        "ensure_weight_tying",
    }
)
# What is only said, or decides how training starts: nothing of it touches a trained adapter's result.
SPOKEN_KEYS = frozenset(
    {
        "peft_type",
        "task_type",
        "peft_version",
        "base_model_name_or_path",
        "revision",
        "inference_mode",
        "init_lora_weights",
        "megatron_core",
        "qalora_group_size",
        "fan_in_fan_out",
    }
)


@dataclass(frozen=True)
class AdapterFacts:
    """What an adapter folder holds, read without loading it."""

    settings: dict[str, Any]
    """The keys of APPLIED_KEYS that the configuration sets."""
    tensors: tuple[TensorFact, ...]
    weights: Path
    base_fingerprint: str | None
    """The fingerprint of the base it was trained over; None if another tool trained it."""
    base_name: str | None
    """The base as the recipe, or another tool, named it; never opened."""


def is_adapter(folder: Path) -> bool:
    """Whether the folder holds an adapter and not a model."""
    return (folder / CONFIG_FILE).is_file()


def check_adapter_folder(folder: Path) -> AdapterFacts:
    """Judge an adapter folder without loading it.

    Raises ModelError adp-missing, adp-config, adp-weights, mdl-pickle, mdl-lfs or mdl-path.
    """
    if not folder.is_dir():
        raise ModelError(
            "adp-missing",
            f"there is no adapter folder {folder}",
            where=str(folder),
            fix="See which runs there are: luthier runs",
        )
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise _bad_config(path, f"there is no {CONFIG_FILE}")
    config = read_object(path, folder, code="adp-config")
    settings = _check_settings(path, config)
    weights = _find_weights(folder)
    origin = folder / ORIGIN_FILE
    base = read_object(origin, folder, code="adp-config").get("base") if origin.is_file() else {}
    if not isinstance(base, dict):
        raise _bad_config(origin, f"base = {str(base)[:60]!r} is not an object")
    fingerprint, name = base.get("fingerprint"), config.get("base_model_name_or_path")
    tensors = read_header(weights)
    _check_ranks(weights, settings, tensors)
    return AdapterFacts(
        settings=settings,
        tensors=tensors,
        weights=weights,
        base_fingerprint=fingerprint if isinstance(fingerprint, str) else None,
        base_name=name if isinstance(name, str) else None,
    )


def _find_weights(folder: Path) -> Path:
    weights = folder / WEIGHTS_FILE
    if weights.is_file():
        if not is_inside(weights, folder):
            raise ModelError(
                "mdl-path",
                f"{WEIGHTS_FILE} is a link to {weights.resolve()}, outside the adapter folder",
                where=str(weights),
                fix="Replace the link by the file it stands for.",
            )
        return weights
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth"))
    if pickles:
        raise ModelError(
            "mdl-pickle",
            f"the adapter's weights are pickled: {', '.join(pickles[:5])}",
            where=str(folder),
            why="Loading a pickle runs whatever code is in it, so Luthier reads safetensors only.",
            fix="Save the adapter again with a current PEFT, which writes safetensors.",
        )
    raise ModelError(
        "adp-weights",
        f"there is no {WEIGHTS_FILE} in {folder}",
        where=str(folder),
        fix="Take the adapter again from where it was made.",
    )


def _check_ranks(weights: Path, settings: dict[str, Any], tensors: tuple[TensorFact, ...]) -> None:
    """Before layers of the configuration's rank are made: over a large base a wrong one alone fills the memory."""
    ranks = {settings.get("r", 8), *(settings.get("rank_pattern") or {}).values()}
    for tensor in tensors:
        if tensor.name.endswith(RANK_FIRST) and tensor.shape[:1] and tensor.shape[0] not in ranks:
            raise ModelError(
                "adp-weights",
                f"the adapter's weights have rank {tensor.shape[0]}, its configuration says {', '.join(map(str, sorted(ranks)))}",
                where=str(weights),
                problems=[f"{tensor.name[:200]}: {list(tensor.shape)}"],
                fix="Take the adapter again from where it was made.",
            )


def _check_settings(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    if config.get("peft_type") != "LORA":
        raise _bad_config(path, f"peft_type = {config.get('peft_type')!r}; Luthier applies LORA adapters")
    for key, value in config.items():
        if key not in APPLIED_KEYS and key not in SPOKEN_KEYS and not _is_nothing(key, value):
            raise _bad_config(
                path, f"{key} = {str(value)[:60]!r} asks for something that Luthier does not apply"
            )
    if config.get("fan_in_fan_out"):
        raise _bad_config(path, "fan_in_fan_out = true is for models that Luthier does not train")
    _check_rank(path, "r", config.get("r", 8))
    _check_alpha(path, "lora_alpha", config.get("lora_alpha", 8))
    _check_dropout(path, config.get("lora_dropout") or 0)
    for key, check in (("rank_pattern", _check_rank), ("alpha_pattern", _check_alpha)):
        pattern = config.get(key) or {}
        if not isinstance(pattern, dict):
            raise _bad_config(path, f"{key} is not an object")
        _check_names(path, key, list(pattern))
        for name, value in pattern.items():
            check(path, f"{key}.{name}", value)
    _check_names(path, "target_modules", config.get("target_modules"))
    _check_names(path, "modules_to_save", config.get("modules_to_save") or [])
    for key in ("use_rslora", "use_dora", "ensure_weight_tying"):
        if not isinstance(config.get(key, False), bool):
            raise _bad_config(path, f"{key} = {config[key]!r} must be true or false")
    return {key: value for key, value in config.items() if key in APPLIED_KEYS and value is not None}


def _is_nothing(key: str, value: Any) -> bool:
    """Unknown keys come from other PEFT versions; switched off they change nothing."""
    return value in (None, False, [], {}, "") or (key == "bias" and value == "none")


def _check_rank(path: Path, key: str, value: Any) -> None:
    if type(value) is not int or not 1 <= value <= MOST_RANK:
        raise _bad_config(path, f"{key} = {str(value)[:40]} must be a whole number from 1 to {MOST_RANK}")


def _check_alpha(path: Path, key: str, value: Any) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value <= MOST_ALPHA:
        raise _bad_config(
            path, f"{key} = {str(value)[:40]} must be a number above 0 and at most {MOST_ALPHA:g}"
        )


def _check_dropout(path: Path, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise _bad_config(path, f"lora_dropout = {str(value)[:40]} must be at least 0 and below 1")


def _check_names(path: Path, key: str, value: Any) -> None:
    if isinstance(value, str):
        raise _bad_config(path, f"{key} = {value[:60]!r} is a pattern; Luthier takes lists of module names")
    if not isinstance(value, list):
        raise _bad_config(path, f"{key} = {str(value)[:60]} is no list of module names")
    for name in value:
        if not isinstance(name, str) or not MODULE_NAME.fullmatch(name):
            raise _bad_config(path, f"{key} holds {str(name)[:60]!r}, which is no module name")


def _bad_config(path: Path, what: str) -> ModelError:
    return ModelError(
        "adp-config",
        f"the adapter cannot be used: {what}",
        where=str(path),
        fix="Take the adapter again from where it was made, or train it anew: luthier train RECIPE",
    )
