"""Whether every number of a safetensors file is finite, read in pieces without torch.

A float is NaN or infinite exactly if all bits of its exponent are set (IEEE 754-2019, 3.4; bfloat16 alike; OCP 8-bit formats: E5M2
alike, E4M3 has no infinity and is NaN where all bits but the sign are set).
"""

import os
from pathlib import Path

import numpy as np

from luthier.floor.errors import ModelError
from luthier.floor.log import Listener
from luthier.knowledge.safetensors_header import TensorFact, read_header

# The unsigned integer of the format's width, and the bits that must not all be set.
EXPONENTS: dict[str, tuple[str, int]] = {
    "F64": ("<u8", 0x7FF0_0000_0000_0000),
    "F32": ("<u4", 0x7F80_0000),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
    "F8_E5M2": ("u1", 0x7C),
    "F8_E4M3": ("u1", 0x7F),
}
BYTES_AT_ONCE = 64 * 2**20


def refuse_non_finite(path: Path, listener: Listener) -> None:
    """Raise ModelError mdl-nan naming the first tensor with a number that is not finite."""
    tensors = read_header(path)
    size = path.stat().st_size
    data_start = size - (tensors[-1].end if tensors else 0)
    with open(path, "rb") as file:
        for tensor in tensors:
            if tensor.format in EXPONENTS and not _is_finite(file.fileno(), tensor, data_start):
                raise _refusal(path, tensor)
            listener.progress("checking numbers", data_start + tensor.end, size, path.name)


def _is_finite(descriptor: int, tensor: TensorFact, data_start: int) -> bool:
    kind, mask = EXPONENTS[tensor.format]
    for start in range(tensor.start, tensor.end, BYTES_AT_ONCE):
        piece = os.pread(descriptor, min(BYTES_AT_ONCE, tensor.end - start), data_start + start)
        bits = np.frombuffer(piece, dtype=kind)
        if bool(((bits & np.array(mask, dtype=kind)) == mask).any()):
            return False
    return True


def _refusal(path: Path, tensor: TensorFact) -> ModelError:
    return ModelError(
        "mdl-nan",
        f"{path.name} holds numbers that are not finite, the first in {tensor.name[:200]}",
        where=str(path),
        why="Whoever loads it gets answers without sense, or none.",
        fix="Train anew with a lower train.lr, or publish an older run: luthier runs",
    )
