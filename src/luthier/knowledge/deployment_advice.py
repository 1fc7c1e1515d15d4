"""Rank the ways to serve a person's own model: by the matrix, by what fits the machine, and by what carries the traffic."""

from collections.abc import Sequence
from dataclasses import dataclass

from luthier.knowledge.deployment import (
    EDGE_BELOW_BYTES,
    PRODUCTION_FROM_AT_ONCE,
    SCENARIOS,
    TEAM_FROM_AT_ONCE,
    WAYS,
    Situation,
    Way,
)
from luthier.knowledge.gguf_families import GGUF_FAMILIES
from luthier.knowledge.hardware import GPUS, Gpu
from luthier.knowledge.serving_memory import (
    FOLDER,
    GGUF_CHOICES,
    Load,
    Machine,
    ServedModel,
    Traffic,
    load_of,
)

SHARE_PROMISED = 0.5
"""Of the bound: steps that wait, prompts that are read and uneven answers take the rest. A choice."""
USUAL_GGUF = "Q5_K_M"


@dataclass(frozen=True)
class Ranked:
    """A way, with what speaks for it and against it."""

    way: Way
    load: Load
    is_guides_pick: bool
    objections: tuple[str, ...]
    """Why it does not do; empty where it does."""
    reasons: tuple[str, ...]

    @property
    def does(self) -> bool:
        return not self.objections


def situation_of(traffic: Traffic, machine: Machine) -> Situation:
    """The row of the matrix that the traffic and the machine speak of."""
    if traffic.at_once >= PRODUCTION_FROM_AT_ONCE:
        return "production"
    if traffic.at_once >= TEAM_FROM_AT_ONCE or traffic.people > 1:
        return "team"
    return "edge" if not machine.is_gpu and machine.memory_bytes < EDGE_BELOW_BYTES else "local"


def rank(model: ServedModel, machine: Machine, traffic: Traffic, situation: Situation) -> list[Ranked]:
    """Every way of the situation, those that do first, in the order of the matrix."""
    scenario = SCENARIOS[situation]
    ranked = [
        _judge(WAYS[key], model, machine, traffic, is_pick=not place, why=scenario.why)
        for place, key in enumerate(scenario.picks)
    ]
    return sorted(ranked, key=lambda each: len(each.objections) > 0)


def _judge(
    way: Way, model: ServedModel, machine: Machine, traffic: Traffic, *, is_pick: bool, why: str
) -> Ranked:
    load = best_load(way, model, machine, traffic)
    objections, reasons = [], [way.why]
    if is_pick:
        reasons.insert(0, f"the guide's choice for it: {why}")
    if way.form == "gguf" and model.model_type not in GGUF_FAMILIES:
        objections.append(f"Luthier writes no GGUF file of {model.model_type}")
    if way.needs_gpu and not machine.is_gpu:
        objections.append("it is of no use without a GPU")
    if way.runs_here and not load.fits:
        objections.append("it does not fit")
    promised = SHARE_PROMISED * load.tokens_per_second
    if way.runs_here and load.fits and promised < traffic.tokens_per_second:
        objections.append(
            f"too slow: {traffic.tokens_per_second:,.0f} tokens/s are asked for, half of what it could do at best is {promised:,.0f}"
        )
    if way.runs_here and load.fits and load.most_at_once < traffic.at_once and not objections:
        reasons.append(
            f"{traffic.at_once} at once, of which {load.most_at_once} are answered and the others wait"
        )
    return Ranked(way, load, is_pick, tuple(objections), tuple(reasons))


def best_load(way: Way, model: ServedModel, machine: Machine, traffic: Traffic) -> Load:
    """The load in the type to take: a folder has one. Of GGUF the usual one, else the best with room for all answers, else for one."""
    types: Sequence[str] = (FOLDER,) if way.form == "folder" else (USUAL_GGUF, *GGUF_CHOICES)
    loads = [load_of(model, machine, traffic, type=type, most_at_once=way.most_at_once) for type in types]
    wanted = min(traffic.at_once, way.most_at_once)
    roomy = next((load for load in loads if load.most_at_once >= wanted), None)
    return roomy or next((load for load in loads if load.fits), loads[-1])


def gpus_that_do(model: ServedModel, traffic: Traffic, situation: Situation, *, most: int = 3) -> list[str]:
    """For the matrix's pick: the slowest GPUs, alone or several of a kind, on which it would do."""
    way = WAYS[SCENARIOS[situation].picks[0]]
    found: list[str] = []
    for count in (1, 2, 4, 8):
        for gpu in sorted(GPUS, key=lambda gpu: gpu.bytes_per_second):
            machine = machine_of_gpu(gpu, count=count)
            does = _judge(way, model, machine, traffic, is_pick=True, why="").does
            if does and len(found) < most:
                found.append(machine.name)
    return found


def machine_of_gpu(gpu: Gpu, *, count: int, name: str = "", memory_bytes: int | None = None) -> Machine:
    """So many GPUs of a kind as one machine, whose memory and rates add up."""
    name = name or gpu.name
    return Machine(
        name=f"{count} x {name}" if count > 1 else name,
        memory_bytes=count * (memory_bytes or gpu.memory_bytes),
        bytes_per_second=count * gpu.bytes_per_second,
        flops=count * gpu.peak_flops,
        is_gpu=True,
        has_bf16=gpu.has_bf16,
        count=count,
    )
