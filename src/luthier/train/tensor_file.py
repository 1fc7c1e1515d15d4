"""Write and read one safetensors file of a checkpoint, with the disk's refusals as OSError.

The safetensors library and torch's file mapping tell a refusal of the disk in words, inside errors of their own; whoever
decides between a damaged file and a disk that fails needs to know which it was.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from luthier.floor.files import sync_file

# `... No space left on device (os error 28) ...`, and torch's `unable to open file <...> ...: Input/output error (5)`.
ERROR_NUMBER = re.compile(r"\(os error (\d+)\)|unable to (?:open|mmap) .*\((\d+)\)", re.DOTALL)


def write_tensors(path: Path, named: Mapping[str, torch.Tensor]) -> None:
    """Write the tensors as one safetensors file and bring it to the disk. Raises OSError if the disk refuses."""
    try:
        save_file(_separate(named), path)
    except SafetensorError as fault:
        raise _as_os_error(fault) or fault from fault
    sync_file(path)


def read_tensors(path: Path, *, device: str | torch.device) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file. Raises OSError if the disk refuses, ValueError if it is no such file.

    What torch says when memory runs out passes through: it tells nothing about the file.
    """
    try:
        return load_file(path, device=str(device))
    except SafetensorError as fault:
        raise _as_os_error(fault) or ValueError(str(fault)) from fault
    except RuntimeError as fault:
        raise _as_os_error(fault) or fault from fault


def _separate(named: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors on the CPU, each in memory of its own: safetensors refuses memory that two share."""
    seen: set[int] = set()
    separate: dict[str, torch.Tensor] = {}
    for name, tensor in named.items():
        moved = tensor.detach().to("cpu").contiguous()
        memory = moved.untyped_storage()
        if memory.data_ptr() in seen or memory.nbytes() != moved.nbytes:
            moved = moved.clone()
        seen.add(memory.data_ptr())
        separate[name] = moved
    return separate


def _as_os_error(fault: Exception) -> OSError | None:
    found = ERROR_NUMBER.search(str(fault))
    if found is None:
        return None
    number = int(found[1] or found[2])
    return OSError(number, os.strerror(number))
