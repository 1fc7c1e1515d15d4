"""The learning rate against the guide's get_lr and Hugging Face's schedulers."""

import math

import pytest
import torch
from transformers import get_scheduler

from luthier.config.train import ScheduleConfig
from luthier.knowledge.schedule import learning_rate


def guide_get_lr(step: int, warmup_steps: int, max_steps: int, max_lr: float, min_lr: float) -> float:
    if step < warmup_steps:
        return max_lr * step / warmup_steps
    progress = (step - warmup_steps) / (max_steps - warmup_steps)
    return min_lr + 0.5 * (max_lr - min_lr) * (1 + math.cos(math.pi * progress))


def test_a_floor_of_a_tenth_gives_the_guide_s_schedule() -> None:
    schedule = ScheduleConfig(warmup_fraction=0.1, lr_floor_fraction=0.1)
    for step in range(1000):
        ours = learning_rate(step, schedule, highest=5e-4, total_steps=1000)
        assert ours == pytest.approx(guide_get_lr(step, 100, 1000, 5e-4, 5e-5), rel=1e-12)


@pytest.mark.parametrize(
    ("kind", "theirs"), [("cosine", "cosine"), ("linear", "linear"), ("constant", "constant_with_warmup")]
)
@pytest.mark.parametrize("warmup_fraction", [0.0, 0.03, 0.5])
def test_the_schedules_equal_hugging_face_s(kind: str, theirs: str, warmup_fraction: float) -> None:
    total = 57
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1e-3)
    scheduler = get_scheduler(
        theirs, optimizer, num_warmup_steps=math.ceil(warmup_fraction * total), num_training_steps=total
    )
    schedule = ScheduleConfig(kind=kind, warmup_fraction=warmup_fraction)  # type: ignore[arg-type]
    for step in range(total):
        assert learning_rate(step, schedule, highest=1e-3, total_steps=total) == pytest.approx(
            scheduler.get_last_lr()[0], rel=1e-9, abs=1e-15
        )
        optimizer.step()
        scheduler.step()


def test_wsd_stays_high_and_then_falls_to_the_floor() -> None:
    schedule = ScheduleConfig(kind="wsd", warmup_fraction=0.1, decay_fraction=0.2, lr_floor_fraction=0.1)
    rates = [learning_rate(step, schedule, highest=1.0, total_steps=100) for step in range(101)]
    assert rates[5] == pytest.approx(0.5)
    assert set(rates[10:81]) == {1.0}
    assert rates[90] == pytest.approx(0.55)
    assert rates[100] == pytest.approx(0.1)
