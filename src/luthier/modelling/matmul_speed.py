"""How fast the machine multiplies square matrices: what can be had of a peak that a data sheet names.

Median of several rounds after a warm-up; a round is long enough that the clock's own grain does not count.
"""

import time

import torch

# 8192 fills the largest GPU (the bench of the peers used it); on a CPU 1024 takes some ten milliseconds a core.
WIDTH_GPU, WIDTH_CPU = 8192, 1024
ROUNDS, TIMES_A_ROUND = 7, 5
# A GPU that was idle raises its clock over some tenths of a second: measured cold, one said 313 TFLOP/s instead of 787.
WARM_UP_ROUNDS, WARM_UP_SECONDS_GPU = 2, 1.0


def measure_matmul(device: torch.device, dtype: torch.dtype) -> tuple[float, int]:
    """Floating point operations a second of a product of two square matrices, and their width."""
    width = WIDTH_GPU if device.type == "cuda" else WIDTH_CPU
    generator = torch.Generator(device).manual_seed(0)
    left, right = (
        torch.randn(width, width, device=device, dtype=dtype, generator=generator) for _ in range(2)
    )
    out = torch.empty_like(left)
    rates: list[float] = []
    warm_until = time.perf_counter() + (WARM_UP_SECONDS_GPU if device.type == "cuda" else 0.0)
    rounds = 0
    while len(rates) < ROUNDS:
        _wait(device)
        started = time.perf_counter()
        for _ in range(TIMES_A_ROUND):
            torch.mm(left, right, out=out)
        _wait(device)
        rounds += 1
        if rounds > WARM_UP_ROUNDS and started > warm_until:
            rates.append(TIMES_A_ROUND * 2 * width**3 / (time.perf_counter() - started))
    return sorted(rates)[len(rates) // 2], width


def free_gpu_bytes(device: torch.device) -> int | None:
    """Free memory of a GPU, None on a CPU."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None


def let_go_of_memory(device: torch.device) -> None:
    """Give what torch keeps in reserve back to the GPU."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
