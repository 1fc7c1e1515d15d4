"""Make a recipe fit the device: the ways that make it smaller, cheapest in speed first, until every phase fits.

The guide's decision tree for memory ends in a quantized base with recomputation; here each way is taken only if those before it do not do,
and none changes the rows of a step, so that the loss stays the same.
"""

from collections.abc import Callable
from dataclasses import dataclass

from luthier.config.recipe import Recipe
from luthier.knowledge.training_memory import changes
from luthier.plan.device import PlannedDevice
from luthier.plan.memory import Memory, memory_of
from luthier.plan.model import PlannedModel
from luthier.reports.plan import Rung

MOST_RUNGS = 24
# Shorter rows are other data; the ladder does not touch them.
NOT_ON_THE_LADDER = ("data.max_length",)


@dataclass(frozen=True)
class Step:
    """A recipe on the way down, and what was typed to get there."""

    recipe: Recipe
    settings: tuple[str, ...]
    price: str


def fits(memory: Memory, device: PlannedDevice) -> bool | None:
    """Whether every phase fits at the upper end; None where the device's memory is not known."""
    if device.memory_bytes is None:
        return None
    return all(phase.high_bytes <= device.memory_bytes for phase in memory.values())


def ladder(
    model: PlannedModel, recipe: Recipe, device: PlannedDevice, seconds_of: Callable[[Recipe], float | None]
) -> list[Rung]:
    """The recipe as it is, and one change after the other, each kept, until it fits or nothing more helps."""
    step = Step(recipe, (), "as the recipe says")
    rungs = [_rung(step, model, device, seconds_of)]
    while not rungs[-1].fits and len(rungs) < MOST_RUNGS:
        following = _next(step, model, device)
        if following is None:
            break
        step = following
        rungs.append(_rung(step, model, device, seconds_of))
    return rungs


def _next(step: Step, model: PlannedModel, device: PlannedDevice) -> Step | None:
    """The first way in the list that makes the largest phase smaller by a twentieth and more."""
    before = max(phase.high_bytes for phase in memory_of(model, step.recipe, device).values())
    for settings, price, changed in changes(step.recipe):
        if settings.startswith(NOT_ON_THE_LADDER):
            continue
        after = max(phase.high_bytes for phase in memory_of(model, changed, device).values())
        if after < 0.95 * before:
            return Step(changed, _merged(step.settings, settings), price)
    return None


def _merged(before: tuple[str, ...], settings: str) -> tuple[str, ...]:
    """What to type for all changes; a later one replaces an earlier one of the same setting."""
    found = dict(word.split("=", 1) for word in before)
    found |= dict(word.split("=", 1) for word in settings.split())
    return tuple(f"{key}={value}" for key, value in found.items())


def _rung(
    step: Step, model: PlannedModel, device: PlannedDevice, seconds_of: Callable[[Recipe], float | None]
) -> Rung:
    memory = memory_of(model, step.recipe, device)
    largest = max(memory.values(), key=lambda phase: phase.high_bytes)
    return Rung(
        settings=" ".join(step.settings),
        peak_bytes=largest.peak_bytes,
        high_bytes=largest.high_bytes,
        seconds=seconds_of(step.recipe),
        fits=fits(memory, device) is not False,
        price=step.price,
    )
