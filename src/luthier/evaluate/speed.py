"""How fast a model answers on this machine: the product's own generation, timed, and cut into costs.

Answers never end early, so that every run makes the same number of tokens whatever the weights say.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from luthier.config.recipe import Recipe
from luthier.floor.log import Listener
from luthier.floor.stop import StopFlag
from luthier.knowledge.hardware import peak_flops_of
from luthier.knowledge.model_folder import check_model_folder
from luthier.modelling.attention import choose_attention
from luthier.modelling.device import choose_device, choose_precision, describe_device, peak_memory_bytes
from luthier.modelling.flops import training_flops_per_token
from luthier.modelling.generate import generate_answers
from luthier.modelling.load import load_base
from luthier.modelling.profiler import StepRecorder
from luthier.modelling.step_costs import StepCosts

TRACED_NEW_TOKENS = 32
STOPPED = "the measurement was stopped; nothing of it is kept"


@dataclass(frozen=True)
class GenerationSpeed:
    """What was measured."""

    answers: int
    new_tokens: int
    prompt_tokens: int
    seconds: float
    first_seconds: float
    peak_bytes: int
    flops_per_token: float
    """Of a forward pass."""
    peak_flops: float | None
    device: str
    precision: str
    attention: str
    costs: StepCosts


def measure_generation(
    recipe: Recipe,
    folder: Path,
    prompts: Sequence[Sequence[int]],
    *,
    new_tokens: int,
    trace: Path,
    listener: Listener,
    stop: StopFlag,
) -> GenerationSpeed:
    """Let the model in `folder` answer the prompts, once to warm up, once timed, once traced with few tokens.

    Raises what loading the model raises, and what StopFlag.error makes when a stop was asked for.
    """
    device = choose_device(recipe.model.device)
    precision = choose_precision("auto", device)
    config, is_fp32 = check_model_folder(folder).config, precision.name == "fp32"
    attention = choose_attention(recipe.model.attention, device, computes_in_fp32=is_fp32, config=config)
    model = load_base(folder, dtype=precision.dtype, device=device, attention=attention)

    def answer(tokens: int, label: str) -> float:
        started = time.perf_counter()
        settings: dict[str, Any] = {"stop_ids": (), "pad_id": 0, "batch_tokens": recipe.evaluate.batch_tokens}
        generate_answers(
            model, prompts, max_new_tokens=tokens, listener=listener, stop=stop, label=label, **settings
        )
        stop.check(STOPPED, fix="Repeat the command.")
        return time.perf_counter() - started

    answer(2, "warming up")
    first_seconds = answer(1, "first tokens")
    seconds = answer(new_tokens, "answers")
    peak_bytes = peak_memory_bytes(device)
    costs = trace_work(device, trace, lambda label: answer(min(TRACED_NEW_TOKENS, new_tokens), label))
    return GenerationSpeed(
        answers=len(prompts),
        new_tokens=len(prompts) * new_tokens,
        prompt_tokens=sum(map(len, prompts)),
        seconds=seconds,
        first_seconds=first_seconds,
        peak_bytes=peak_bytes,
        # No weight is frozen in a base: 6 FLOPs a weight a token of training are 2 of a forward pass.
        flops_per_token=training_flops_per_token(model) / 3,
        peak_flops=peak_flops_of(describe_device(device)),
        device=describe_device(device),
        precision=precision.name,
        attention=attention,
        costs=costs,
    )


def trace_work(device: torch.device, trace: Path, work: Callable[[str], object]) -> StepCosts:
    """Do the work twice, under the profiler: its first round is slower and is not kept."""
    recorder = StepRecorder(device, steps=1)
    recorder.start()
    try:
        for label in ("warming up the profiler", "tracing"):
            recorder.begin_step()
            work(label)
            recorder.end_step()
    finally:
        recorder.stop()
    return recorder.finish(trace)
