"""Facts about GPUs: how fast they can be at best, so that a measured speed can be given as a share of it.

Peaks are dense 16-bit tensor rates with 32-bit accumulation, which is what training uses; data sheets often print twice that
(with sparsity) and, for GeForce cards, twice again (16-bit accumulation). Figures are the makers' own, from the sheet named beside
each group; boards run below them when power or heat says so. A GPU that is not here has no peak, and none is invented for it.
"""

import re
from dataclasses import dataclass

from luthier.floor.errors import UsageError
from luthier.floor.lookup import did_you_mean

TERA = 1e12
GIGA = 1e9
GIB = 2**30


@dataclass(frozen=True)
class Gpu:
    """One kind of GPU, known by words of the name that its driver gives (`torch.cuda.get_device_name`)."""

    name: str
    words: frozenset[str]
    peak_flops: float
    """Dense bf16 floating point operations a second (fp16 where there is no bf16)."""
    memory_bytes: int
    """Nominal; the driver keeps a little of it."""
    bytes_per_second: float
    """Peak memory bandwidth."""
    has_bf16: bool = True
    watts: float | None = None
    """The most power that the board takes by its data sheet; None where it has several settings or none is known for certain."""


def _gpu(
    words: str,
    teraflops: float,
    memory_gib: int,
    gigabytes_per_second: float,
    *,
    bf16: bool = True,
    watts: float | None = None,
) -> Gpu:
    return Gpu(
        words.upper().replace("GB", " GB").replace(" GB200", "GB200"),
        frozenset(words.split()),
        teraflops * TERA,
        memory_gib * GIB,
        gigabytes_per_second * GIGA,
        bf16,
        watts,
    )


# A row with more words goes before one with fewer: the first whose words all occur in the name is taken.
GPUS: tuple[Gpu, ...] = (
    # NVIDIA Blackwell Architecture Technical Brief; HGX B200, HGX B300 and GB200 NVL72 product pages (dense = half of sparse).
    _gpu("gb200", 2500, 186, 8000),
    _gpu("b300", 2250, 270, 8000),
    _gpu("b200", 2250, 180, 8000, watts=1000),
    # NVIDIA H100 and H200 Tensor Core GPU data sheets; Grace Hopper data sheet.
    _gpu("h200 nvl", 835.5, 141, 4800, watts=600),
    _gpu("h200", 989.4, 141, 4800, watts=700),
    _gpu("gh200", 989.4, 96, 4000),
    _gpu("h100 nvl", 835.5, 94, 3900),
    _gpu("h100 pcie", 756, 80, 2000, watts=350),
    _gpu("h100", 989.4, 80, 3350, watts=700),
    _gpu("h800 pcie", 756, 80, 2000),
    _gpu("h800", 989.4, 80, 3350),
    _gpu("h20", 148, 96, 4000),
    # NVIDIA A100 data sheet; the A800 differs in its links only.
    _gpu("a100 sxm4 80gb", 312, 80, 2039, watts=400),
    _gpu("a100 80gb pcie", 312, 80, 1935, watts=300),
    _gpu("a100", 312, 40, 1555, watts=400),
    _gpu("a800 sxm4 80gb", 312, 80, 2039),
    _gpu("a800 80gb pcie", 312, 80, 1935),
    # NVIDIA A30, A40, A10, RTX A6000 data sheets.
    _gpu("a30", 165, 24, 933, watts=165),
    _gpu("a40", 149.7, 48, 696, watts=300),
    _gpu("a10", 125, 24, 600, watts=150),
    _gpu("a6000", 154.8, 48, 768, watts=300),
    # NVIDIA A10G and RTX 6000 Ada Generation data sheets.
    _gpu("a10g", 70, 24, 600),
    _gpu("rtx 6000 ada", 364.2, 48, 960, watts=300),
    # NVIDIA L40S, L40, L4 data sheets (dense = half of sparse).
    _gpu("l40s", 362, 48, 864, watts=350),
    _gpu("l40", 181, 48, 864, watts=300),
    _gpu("l4", 121, 24, 300, watts=72),
    # GeForce: "FP16 Tensor with FP32 accumulate" of the Blackwell, Ada and Ampere GA102 white papers.
    _gpu("rtx 5090", 209.5, 32, 1792, watts=575),
    _gpu("rtx 4090", 165.2, 24, 1008, watts=450),
    _gpu("rtx 4080", 97.5, 16, 716.8, watts=320),
    _gpu("rtx 3090 ti", 80, 24, 1008, watts=450),
    _gpu("rtx 3090", 71, 24, 936, watts=350),
    # NVIDIA V100 and T4 data sheets: fp16 only.
    _gpu("v100 sxm2 32gb", 125, 32, 900, bf16=False, watts=300),
    _gpu("v100 sxm2 16gb", 125, 16, 900, bf16=False, watts=300),
    _gpu("t4", 65, 16, 300, bf16=False, watts=70),
    # AMD Instinct data sheets; an MI250X shows as two devices of 191.5 each.
    _gpu("mi355x", 2500, 288, 8000),
    _gpu("mi325x", 1307.4, 256, 6000, watts=1000),
    _gpu("mi300x", 1307.4, 192, 5300, watts=750),
    _gpu("mi250x", 191.5, 64, 1638),
)

# A slice of a GPU, a laptop's and a cut-down chip carry the name of the full one but not its speed.
OTHER_CHIPS = frozenset({"mig", "laptop", "mobile", "max", "d", "super"})


def find_gpu(device_name: str) -> Gpu | None:
    """The facts of a GPU by the name its driver gives, or None if it is not known for certain."""
    words = frozenset(re.findall(r"[a-z0-9]+", device_name.lower()))
    if words & OTHER_CHIPS:
        return None
    return next((gpu for gpu in GPUS if gpu.words <= words), None)


def need_gpu(name: str) -> Gpu:
    """The facts of a GPU that a person named. Raises UsageError with those that are known."""
    found = find_gpu(name)
    if found is None:
        known = [each.name for each in GPUS]
        raise UsageError(
            "usage",
            f"{name!r} is no GPU that is known here{did_you_mean(name.upper(), known)}",
            where="--gpu",
            why=f"Known are {', '.join(known)}.",
            fix="Name one of them that comes close.",
        )
    return found


def peak_flops_of(device_name: str) -> float | None:
    """Dense 16-bit operations a second at best, or None where the peak is not known."""
    gpu = find_gpu(device_name)
    return None if gpu is None else gpu.peak_flops
