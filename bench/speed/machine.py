"""What the figures were taken on: hardware, versions, and the speed of a square product."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

LIBRARIES = (
    "torch", "transformers", "peft", "accelerate", "trl", "liger_kernel", "unsloth", "unsloth_zoo", "xformers", "bitsandbytes",
    "flash_attn", "triton", "datasets",
)  # fmt: skip


def probe(task: dict[str, Any]) -> dict[str, Any]:
    """The machine, and FLOPs a second of a square product on it (8,192 wide in bf16 on a GPU, 1,024 in fp32 on a CPU)."""
    import torch

    from luthier.modelling.device import choose_device, describe_device, usable_cores
    from luthier.modelling.matmul_speed import measure_matmul

    if task["threads"]:
        torch.set_num_threads(task["threads"])
    device = choose_device("auto")
    is_gpu = device.type == "cuda"
    reached, width = measure_matmul(device, torch.bfloat16 if is_gpu else torch.float32)
    return {
        "hardware": {
            "device": describe_device(device),
            "gpu_bytes": torch.cuda.get_device_properties(device).total_memory if is_gpu else None,
            "cpu": describe_device(torch.device("cpu")),
            "cores": usable_cores(),
            "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        },
        "versions": {
            "luthier": commit(),
            "python": platform.python_version(),
            "cuda": torch.version.cuda,
            **installed(),
        },
        "matmul_flops": reached,
        "matmul_width": width,
    }


def installed() -> dict[str, str]:
    """Versions of the libraries that are there."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The commit of the source that is measured, with a word if files differ from it; None where there is no repository."""
    source = Path(__file__).parents[2] / "src"

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=source, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + (
            " with changes" if git("status", "--porcelain", ".") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return None
