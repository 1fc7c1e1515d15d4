"""Write a merged model as a folder that any reader of Transformers' format loads.

Weights in safetensors shards, config, tokenizer with its chat template, generation config. The caller names a temporary
folder; nothing here knows the final one.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from luthier.floor.errors import EnvironmentFault
from luthier.floor.files import disk_faults, free_bytes, free_room, write_json
from luthier.floor.units import format_bytes
from luthier.knowledge.model_folder import ModelFacts
from luthier.modelling.load import quiet_transformers

SHARD_BYTES = 5 * 2**30
GENERATION_CONFIG = "generation_config.json"
# config.json, tokenizer and file headers; a tokenizer of 150k tokens takes 11 MB.
BYTES_BESIDE_WEIGHTS = 32 * 2**20

DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# The names in safetensors headers.
FLOATING = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


def own_dtypes(base: ModelFacts) -> dict[str, torch.dtype]:
    """The number format of every floating tensor of the base, by its name in the files."""
    return {tensor.name: FLOATING[tensor.format] for tensor in base.tensors if tensor.format in FLOATING}


def round_weights(model: PreTrainedModel, *, default: torch.dtype, own: Mapping[str, torch.dtype]) -> None:
    """Give every weight its final number format, one at a time: its own where it is listed, else `default`."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.data = parameter.data.to(own.get(name, default))
        for name, buffer in model.named_buffers():
            if buffer.is_floating_point() and name in own:
                buffer.data = buffer.data.to(own[name])


def hash_weights(model: PreTrainedModel) -> dict[str, str]:
    """SHA-256 of every weight's values in fp32, by name: equal before saving and after loading, whatever the format between."""
    return {
        name: hashlib.sha256(
            parameter.detach().float().cpu().contiguous().view(torch.uint8).numpy().data
        ).hexdigest()
        for name, parameter in model.named_parameters()
    }


def check_room(folder: Path, *, weight_bytes: int) -> None:
    """Refuse before the first model is loaded if the merged one will not fit the disk.

    Raises EnvironmentFault env-disk with both figures.
    """
    needed = weight_bytes + BYTES_BESIDE_WEIGHTS
    if free_bytes(folder) < needed:
        raise EnvironmentFault(
            "env-disk",
            f"the merged model takes {format_bytes(needed)}, and {free_room(folder)} are free",
            where=str(folder),
            fix="Make room, then repeat the command.",
        )


def write_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    base_folder: Path,
    stop_ids: Collection[int],
) -> None:
    """Write weights, configs and tokenizer to `folder`, shard by shard.

    Raises EnvironmentFault if the disk is full or refuses.
    """
    base_config = json.loads((base_folder / "config.json").read_text(encoding="utf-8"))
    # Training and checking switch the cache off; whoever serves the model wants what the base says.
    model.config.use_cache = base_config.get("use_cache", True)
    # Transformers refuses to save some published generation configs, so it gets a plain one and the base's follows.
    model.generation_config = GenerationConfig()
    with disk_faults(folder), quiet_transformers():
        try:
            model.save_pretrained(folder, max_shard_size=SHARD_BYTES)
        except SafetensorError as fault:  # how the library says that a write failed
            raise OSError(str(fault)) from fault
        tokenizer.save_pretrained(folder)
    write_json(folder / GENERATION_CONFIG, _generation_config(base_folder, tokenizer, stop_ids))


def _generation_config(
    base_folder: Path, tokenizer: PreTrainedTokenizerBase, stop_ids: Collection[int]
) -> dict[str, object]:
    """The base's generation config, and every token at which the trained model ends an answer."""
    path = base_folder / GENERATION_CONFIG
    config: dict[str, object] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    known = config.get("eos_token_id")
    before = [known] if isinstance(known, int) else list(known) if isinstance(known, list) else []
    ends = before + [token for token in stop_ids if token not in before]
    if ends:
        config["eos_token_id"] = ends[0] if len(ends) == 1 else ends
    if config.get("pad_token_id") is None and tokenizer.pad_token_id is not None:
        config["pad_token_id"] = tokenizer.pad_token_id
    return config
