"""Write a base model with random weights, for measuring a machine: the arithmetic is that of the real one, and nothing is fetched.

Weights are drawn, not zero: a GPU that multiplies zeros needs less power and runs faster than it will. The tokenizer is that of the
embedded base; rows for such a model are ids already.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

from luthier.floor.errors import EnvironmentFault
from luthier.floor.files import disk_faults, free_bytes, write_json
from luthier.floor.log import Listener
from luthier.floor.units import format_bytes
from luthier.knowledge.model_folder import EMBEDDED, INDEX_FILE, find_model
from luthier.modelling.load import quiet_transformers

SHARD_BYTES = 2 * 2**30
SPREAD = 0.02  # initializer_range of both families
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def write_random_base(
    folder: Path, config: Mapping[str, Any], *, dtype: torch.dtype, device: torch.device, listener: Listener
) -> Path:
    """The model that `config` describes, its weights drawn on `device`, written to `folder`.

    Raises EnvironmentFault (env-disk) before a byte is written if there is no room for it.
    """
    settings = dict(config)
    with quiet_transformers(), torch.device("meta"):
        made = AutoConfig.for_model(settings.pop("model_type"), **settings)
        made.bos_token_id = made.eos_token_id = made.pad_token_id = 0
        model = AutoModelForCausalLM.from_config(made, dtype=dtype)
    parameters = dict(model.named_parameters())  # a tied head is not among them
    total = sum(tensor.nbytes for tensor in parameters.values())
    _need_room(folder, total)
    with disk_faults(folder):
        folder.mkdir(parents=True, exist_ok=True)
        made.architectures = [type(model).__name__]
        made.dtype = dtype
        made.save_pretrained(folder)
        for name in TOKENIZER_FILES:
            source = find_model(EMBEDDED) / name
            if source.is_file():
                shutil.copy(source, folder / name)
        _write_weights(folder, parameters, total, device, listener)
    return folder


def _need_room(folder: Path, needed: int) -> None:
    free = free_bytes(folder)
    if free < needed * 1.1:
        raise EnvironmentFault(
            "env-disk",
            f"a model of random weights takes {format_bytes(needed)}, and {format_bytes(free)} are free",
            where=str(folder.parent),
            fix="Name a folder with more room: TMPDIR=FOLDER before the command; or a smaller shape: --shape tiny",
        )


def _write_weights(
    folder: Path,
    parameters: Mapping[str, torch.Tensor],
    total: int,
    device: torch.device,
    listener: Listener,
) -> None:
    """Shard by shard, so that no more than one is in memory."""
    generator = torch.Generator(device).manual_seed(0)
    shard: dict[str, torch.Tensor] = {}
    where: dict[str, str] = {}
    written = 0

    def flush() -> None:
        nonlocal written
        name = f"model-{len(set(where.values())) + 1:05d}.safetensors"
        save_file(shard, folder / name, metadata={"format": "pt"})
        where.update(dict.fromkeys(shard, name))
        written += sum(tensor.nbytes for tensor in shard.values())
        shard.clear()
        listener.progress("writing random weights", written // 2**20, max(total // 2**20, 1), "MiB")

    for name, wanted in parameters.items():
        shard[name] = _drawn(name, wanted, device, generator)
        if sum(tensor.nbytes for tensor in shard.values()) >= SHARD_BYTES:
            flush()
    if shard:
        flush()
    write_json(folder / INDEX_FILE, {"metadata": {"total_size": total}, "weight_map": where})


def _drawn(name: str, wanted: torch.Tensor, device: torch.device, generator: torch.Generator) -> torch.Tensor:
    """Matrices normal, norms one, biases zero, as these families are initialised."""
    if wanted.ndim < 2:
        fill = 0.0 if name.endswith("bias") else 1.0
        return torch.full(wanted.shape, fill, dtype=wanted.dtype)
    drawn = torch.randn(wanted.shape, generator=generator, device=device, dtype=wanted.dtype)
    return drawn.mul_(SPREAD).cpu()
