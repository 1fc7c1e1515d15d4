"""Which device computes, in which number format, and how much memory it took.

The format is chosen by what the hardware has: bf16 where the GPU multiplies it natively, fp16 with loss scaling on older GPUs,
fp32 on a CPU. A format that the recipe names is refused where it would be emulated or silently replaced.
"""

import os
import platform
from dataclasses import dataclass
from typing import Literal

import torch

from luthier.floor.errors import EnvironmentFault
from luthier.floor.memory import peak_resident_bytes

PrecisionName = Literal["fp32", "bf16", "fp16"]

# bf16 matrix units came with compute capability 8.0 (Ampere), fp16 ones with 7.0 (Volta): CUDA programming guide, table of
# arithmetic instructions. Below that the formats are emulated and slower than fp32.
BF16_CAPABILITY = (8, 0)
FP16_CAPABILITY = (7, 0)
# As Linux names them: x86 (Cooper Lake, Sapphire Rapids, Zen 4 and later) and Arm.
CPU_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


@dataclass(frozen=True)
class Precision:
    """The number format of the forward and backward pass."""

    name: PrecisionName
    dtype: torch.dtype
    needs_scaler: bool
    """fp16's smallest numbers are too large for many gradients, so the loss is scaled up and the gradients down again."""


PRECISIONS: dict[str, Precision] = {
    "fp32": Precision("fp32", torch.float32, needs_scaler=False),
    "bf16": Precision("bf16", torch.bfloat16, needs_scaler=False),
    "fp16": Precision("fp16", torch.float16, needs_scaler=True),
}


def choose_device(setting: str) -> torch.device:
    """The device for `model.device`: the GPU if there is one, unless the recipe says otherwise.

    Raises EnvironmentFault if `cuda` is asked for and there is none.
    """
    if setting == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if setting == "cuda":
        raise EnvironmentFault(
            "env-device",
            f"model.device = cuda, but {_why_no_cuda()}",
            where="model.device",
            why="Luthier does not train on another device than the recipe names.",
            fix="See what is there: luthier doctor; or compute on the CPU: model.device=cpu",
        )
    return torch.device("cpu")


def _why_no_cuda() -> str:
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA"
    return f"torch {torch.__version__} sees no CUDA device"


def choose_precision(setting: str, device: torch.device) -> Precision:
    """The number format for `setting` (auto, fp32, bf16 or fp16) on `device`.

    Raises EnvironmentFault, naming the hardware, if it lacks the format.
    """
    if setting == "auto":
        return PRECISIONS[_best_precision(device)]
    if setting == "bf16" and not _has_bf16(device):
        raise _lacks(
            "bf16",
            device,
            "bf16 needs a GPU of compute capability 8.0 or later, or a CPU with bf16 instructions",
        )
    if setting == "fp16" and not _has_fp16(device):
        raise _lacks("fp16", device, "fp16 needs a GPU of compute capability 7.0 or later")
    return PRECISIONS[setting]


def _best_precision(device: torch.device) -> PrecisionName:
    if device.type != "cuda":
        return "fp32"
    if _has_bf16(device):
        return "bf16"
    return "fp16" if _has_fp16(device) else "fp32"


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= BF16_CAPABILITY
    return bool(_cpu_flags() & CPU_BF16_FLAGS)


def _has_fp16(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= FP16_CAPABILITY


def _cpu_flags() -> frozenset[str]:
    """The instruction sets that Linux lists for the first core; none elsewhere."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith(("flags", "Features")):
                    return frozenset(line.split(":", 1)[1].split())
    except OSError:
        pass
    return frozenset()


def _lacks(name: str, device: torch.device, why: str) -> EnvironmentFault:
    return EnvironmentFault(
        "env-precision",
        f"train.precision = {name}, but {describe_device(device)} has no {name} arithmetic",
        where="train.precision",
        why=f"{why}; elsewhere it would be emulated, slower and less exact than fp32.",
        fix="Let the hardware choose: train.precision=auto",
    )


def describe_device(device: torch.device) -> str:
    """The device's name as people know it, with its memory for a GPU and its usable cores for a CPU."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{properties.name} ({properties.total_memory / 2**30:.0f} GiB)"
    return f"{_cpu_name()} ({usable_cores()} cores)"


def usable_cores() -> int:
    """The cores that this process may use, which a container or a batch system may have cut down."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory held so far: reserved by torch on a GPU, resident in the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    return peak_resident_bytes()
