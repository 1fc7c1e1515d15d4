"""The device that a plan is made for: this machine's, or one that was named and is not here."""

import time
from dataclasses import dataclass

from luthier.config.recipe import Recipe
from luthier.floor.memory import available_memory_bytes
from luthier.floor.nvidia import first_nvidia_gpu
from luthier.knowledge.hardware import Gpu, find_gpu, need_gpu

# What a process holds before a model: a CUDA context with cuBLAS and Triton; Python with torch and transformers (LOG.md, the demo).
RUNTIME_GPU_BYTES, RUNTIME_CPU_BYTES = 900 * 2**20, 420 * 2**20
# Of the peak rate of 16-bit products: what training of packed rows reaches. The bounds are the measured rows of bench/results and
# of the peers' bench between 0.5B and 8B; small models lie at the lower one.
SHARE_OF_PEAK, SHARE_LOW, SHARE_HIGH = 0.35, 0.15, 0.5
# Of a square product on this CPU (docs/how-to/measure.md has 61 %).
SHARE_OF_CPU, SHARE_CPU_LOW, SHARE_CPU_HIGH = 0.55, 0.3, 0.9
CPU_WIDTH, CPU_SECONDS = 512, 0.1


@dataclass(frozen=True)
class PlannedDevice:
    """A GPU or the CPU, as far as a plan needs it."""

    name: str
    is_gpu: bool
    memory_bytes: int | None
    precision: str
    compute_bytes: int
    peak_flops: float | None
    bytes_per_second: float | None
    """Of its memory; None on a CPU and for an unknown GPU."""
    share: tuple[float, float, float]
    """Of the peak: the lower bound, what is expected, the upper bound."""
    rate_source: str
    has_bf16: bool
    watts: float | None
    is_here: bool

    @property
    def runtime_bytes(self) -> int:
        return RUNTIME_GPU_BYTES if self.is_gpu else RUNTIME_CPU_BYTES


def planned_device(recipe: Recipe, gpu: str | None) -> PlannedDevice:
    """The GPU that was named, else this machine's first NVIDIA GPU if the recipe may use one, else its CPU.

    Raises UsageError for a GPU that is not in the table, with those most like it.
    """
    if gpu is not None and gpu.lower() != "cpu":
        found = need_gpu(gpu)
        return _of_gpu(gpu.upper(), found, found.memory_bytes, recipe, is_here=False)
    here = None if gpu is not None or recipe.model.device == "cpu" else first_nvidia_gpu()
    if here is not None:
        return _of_gpu(here.name, find_gpu(here.name), here.memory_bytes, recipe, is_here=True)
    return _of_cpu(recipe)


def _of_gpu(
    name: str, facts: Gpu | None, memory_bytes: int, recipe: Recipe, *, is_here: bool
) -> PlannedDevice:
    has_bf16 = facts.has_bf16 if facts else True
    wanted = recipe.train.precision
    precision = ("bf16" if has_bf16 else "fp16") if wanted == "auto" else wanted
    return PlannedDevice(
        name=name,
        is_gpu=True,
        memory_bytes=memory_bytes,
        precision=precision,
        compute_bytes=4 if precision == "fp32" else 2,
        peak_flops=facts.peak_flops if facts else None,
        bytes_per_second=facts.bytes_per_second if facts else None,
        share=(SHARE_LOW, SHARE_OF_PEAK, SHARE_HIGH),
        rate_source="its data sheet" if facts else "unknown",
        has_bf16=has_bf16,
        watts=facts.watts if facts else None,
        is_here=is_here,
    )


def _of_cpu(recipe: Recipe) -> PlannedDevice:
    precision = "fp32" if recipe.train.precision == "auto" else recipe.train.precision
    return PlannedDevice(
        name="this CPU",
        is_gpu=False,
        memory_bytes=available_memory_bytes(),
        precision=precision,
        compute_bytes=4 if precision == "fp32" else 2,
        peak_flops=_cpu_flops(),
        bytes_per_second=None,
        share=(SHARE_CPU_LOW, SHARE_OF_CPU, SHARE_CPU_HIGH),
        rate_source=f"a product of {CPU_WIDTH} x {CPU_WIDTH} numbers, timed now",
        has_bf16=True,
        watts=None,
        is_here=True,
    )


def _cpu_flops() -> float:
    """Operations a second of square fp32 products with all cores, the best of those within a tenth of a second."""
    import numpy as np

    square = np.ones((CPU_WIDTH, CPU_WIDTH), np.float32)
    best, ends = float("inf"), time.perf_counter() + CPU_SECONDS
    while time.perf_counter() < ends:
        started = time.perf_counter()
        square @ square
        best = min(best, time.perf_counter() - started)
    return 2 * CPU_WIDTH**3 / best
