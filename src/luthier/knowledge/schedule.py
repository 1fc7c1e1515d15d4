"""The learning rate at a step, as a pure function: a resumed run needs no scheduler state.

The guide's get_lr: linear warm-up from 0 (`max * step / warm-up`), then `floor + (max - floor) / 2 * (1 + cos(pi * p))`.
Hugging Face's cosine is the same with a floor of 0; `wsd` is warm-up, stable, decay (Hu et al. 2024, MiniCPM), linear decay.
"""

import math

from luthier.config.train import ScheduleConfig


def warmup_steps(schedule: ScheduleConfig, *, total_steps: int) -> int:
    """Steps of the warm-up, rounded up as Hugging Face does."""
    return math.ceil(schedule.warmup_fraction * total_steps)


def learning_rate(step: int, schedule: ScheduleConfig, *, highest: float, total_steps: int) -> float:
    """The rate for optimizer step `step`, counted from 0, of `total_steps`."""
    warmup = warmup_steps(schedule, total_steps=total_steps)
    if step < warmup:
        return highest * step / warmup
    floor = highest * schedule.lr_floor_fraction
    if schedule.kind == "constant":
        return highest
    if schedule.kind == "wsd":
        decay = max(1, math.ceil(schedule.decay_fraction * total_steps))
        left = min(1.0, (total_steps - step) / decay)
        return floor + (highest - floor) * left
    progress = (step - warmup) / max(1, total_steps - warmup)
    if schedule.kind == "linear":
        return floor + (highest - floor) * max(0.0, 1 - progress)
    return floor + 0.5 * (highest - floor) * (1 + math.cos(math.pi * min(1.0, progress)))
