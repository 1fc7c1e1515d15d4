"""The first GPU of this machine, as NVIDIA's driver tells of it: no torch is loaded for the question."""

import shutil
import subprocess
from dataclasses import dataclass

TIMEOUT_S = 20.0
QUERY = ("--query-gpu=name,memory.total", "--format=csv,noheader,nounits", "--id=0")


@dataclass(frozen=True)
class NvidiaGpu:
    """A GPU and its whole memory."""

    name: str
    memory_bytes: int


def first_nvidia_gpu() -> NvidiaGpu | None:
    """None without a GPU, a driver, or an answer of it."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        told = subprocess.run(
            [program, *QUERY], capture_output=True, text=True, timeout=TIMEOUT_S, check=True
        )
        name, mebibytes = told.stdout.strip().splitlines()[0].rsplit(",", 1)
        return NvidiaGpu(name.strip(), int(mebibytes) * 2**20)
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
