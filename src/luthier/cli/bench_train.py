"""`luthier bench train`: the product's own prepare and train in a temporary folder, and what their files say about speed."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.cli.bench_ground import Ground, bench_ground, model_name
from luthier.cli.screen import Screen
from luthier.floor.errors import UnhealthyError
from luthier.floor.stop import StopFlag, listen_for_stop

if TYPE_CHECKING:
    from luthier.config.recipe import Recipe
    from luthier.modelling.step_costs import StepCosts
    from luthier.reports.bench import BenchReport
    from luthier.reports.data import DataReport
    from luthier.reports.train import TrainReport

# Steps beside the timed ones: those that luthier.train.profile traces, one before and one after them.
TRACED_STEPS = 5


class FirstStep(Screen):
    """A screen that remembers when the first step was told of."""

    def __init__(self) -> None:
        super().__init__()
        self.at: float | None = None

    def progress(self, label: str, done: int, total: int, detail: str = "") -> None:
        if label == "training" and self.at is None:
            self.at = time.perf_counter()
        super().progress(label, done, total, detail)


class TrainBench:
    """One measurement of training."""

    def __init__(self, words: Sequence[str] | None, shape: str | None, *, steps: int, warmup: int) -> None:
        self.words, self.shape = words, shape
        self.steps, self.warmup = steps, warmup
        self.total = warmup + steps + TRACED_STEPS

    def run(self) -> "BenchReport":
        """Measure; the folder it was done in is gone when this returns."""
        with listen_for_stop(StopFlag()) as stop, bench_ground() as ground:
            from luthier.data.stage import prepare

            screen = FirstStep()
            recipe = ground.own(ground.recipe_of(self.words, self.shape, {"packs": min(self.total, 24)}))
            data = prepare(recipe, ground.run, listener=screen, stop=stop)
            data.model_copy(update={"validation": None}).write(ground.run.report("data"))
            recipe = self.short(recipe, data)
            started = time.perf_counter()
            from luthier.train.stage import check_machine, train

            check_machine(recipe)
            trained = train(recipe, ground.run, listener=screen, stop=stop)
            first = None if screen.at is None else screen.at - started
            return self.report(recipe, ground, trained, first_seconds=first)

    def short(self, recipe: "Recipe", data: "DataReport") -> "Recipe":
        """The recipe for so many steps and nothing else: no validation, no checkpoint before the end, a line a step."""
        from luthier.modelling.device import choose_device
        from luthier.train.fast_paths import LEAST_STEPS_TO_COMPILE, should_compile

        train = recipe.train
        compiles = should_compile(recipe, choose_device(recipe.model.device), LEAST_STEPS_TO_COMPILE)
        changes: dict[str, Any] = {
            "epochs": self.enough_epochs(recipe, data),
            "most_steps": self.total,
            "profile": True,
            # A run of this length would not earn it back; the one that it stands for does.
            "compile": "on" if compiles else train.compile,
            "log": train.log.model_copy(update={"logging_steps": 1, "trackers": ()}),
            "checkpoint": train.checkpoint.model_copy(update={"save_steps": 0, "keep_best": 0, "load_best": False}),
        }  # fmt: skip
        return recipe.model_copy(update={"train": train.model_copy(update=changes)})

    def enough_epochs(self, recipe: "Recipe", data: "DataReport") -> float:
        """Passes over the rows that hold the steps at least: one may hold less than the dial says, since packs are not quite full."""
        rows, tokens = data.train.rows_kept, data.train.tokens
        # Of rows that are tokenized on the fly nobody knows the tokens; a row has two at least.
        rows_per_step = recipe.rows_per_step() or recipe.train.tokens_per_step * rows / (tokens or 2 * rows)
        return float(math.ceil(1.5 * self.total * rows_per_step / rows) + 1)

    def report(
        self, recipe: "Recipe", ground: Ground, trained: "TrainReport", *, first_seconds: float | None
    ) -> "BenchReport":
        """Put metrics, trace and the machine's limit together."""
        from luthier.cli.bench_text import sentence
        from luthier.modelling.device import choose_device, choose_precision, describe_device
        from luthier.modelling.matmul_speed import let_go_of_memory, measure_matmul
        from luthier.reports.bench import BenchReport
        from luthier.reports.provenance import gather_provenance
        from luthier.train.profile import RESULT, profile_folder

        traced = read_trace(profile_folder(ground.run.logs) / RESULT)
        entries = [json.loads(line) for line in ground.run.metrics.read_text("utf-8").splitlines()]
        timed = timed_steps(entries, warmup=self.warmup, steps=self.steps, traced=traced)
        device = choose_device(recipe.model.device)
        let_go_of_memory(device)
        ground.screen.say("measuring a square product")
        reached, width = measure_matmul(device, choose_precision(recipe.train.precision, device).dtype)
        costs = costs_of(traced, step_seconds=timed["seconds"] / timed["steps"])
        rate = timed["tokens"] / timed["seconds"]
        flops, peak = traced.get("flops_per_token"), traced.get("peak_flops")
        return BenchReport(
            kind="train",
            model=model_name(recipe, ground),
            method=trained.method,
            device=describe_device(device),
            precision=trained.precision,
            attention=trained.attention,
            compiled=recipe.train.compile == "on",
            steps=timed["steps"],
            warmup=self.warmup,
            tokens=timed["tokens"],
            seconds=timed["seconds"],
            tokens_per_second=rate,
            first_seconds=first_seconds,
            peak_bytes=timed["peak_bytes"],
            flops_per_token=flops,
            spec_flops=peak,
            share_of_spec=rate * flops / peak if peak and flops else None,
            matmul_flops=reached,
            matmul_width=width,
            share_of_matmul=rate * flops / reached if flops else None,
            breakdown={cost: seconds / costs.steps for cost, seconds in costs.seconds.items()},
            traced_steps=costs.steps,
            largest=sentence(costs, "train") if traced else "No step was traced.",
            provenance=gather_provenance(device=describe_device(device)),
        )


def read_trace(file: Path) -> dict[str, Any]:
    """What luthier.train.profile wrote; nothing if the run was too short for it."""
    found: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    return found


def costs_of(traced: dict[str, Any], *, step_seconds: float) -> "StepCosts":
    """The costs of the traced steps, as steps of the timed length have them."""
    from luthier.modelling.step_costs import StepCosts, without_overhead

    if not traced:
        return StepCosts(0, 0.0, {}, on_device=False)
    found = StepCosts(traced["steps"], traced["wall_seconds"], traced["seconds"], traced["on_device"])
    return without_overhead(found, step_seconds)


def timed_steps(
    entries: Sequence[dict[str, Any]], *, warmup: int, steps: int, traced: dict[str, Any]
) -> dict[str, Any]:
    """Tokens and seconds of the first `steps` steps after the warm-up that the profiler did not slow.

    The step before the traced ones runs under the profiler too, and the step after them pays for writing the trace.
    """
    lines = {entry["step"]: entry for entry in entries if "tokens_per_second" in entry}
    slowed = range(traced["first_step"] - 1, traced["last_step"] + 2) if traced else range(0)
    nothing = {"tokens": 0, "seconds": 0.0}
    found = []
    for step in sorted(lines):
        before = lines.get(step - 1, nothing if step == 1 else None)
        if step > warmup and step not in slowed and before is not None:
            found.append((lines[step], before))
    found = found[:steps]
    if not found:
        raise UnhealthyError(
            "train-empty", "no step was timed", fix="Measure more of them: --steps 20 --warmup 5"
        )
    return {
        "steps": len(found),
        "tokens": sum(line["tokens"] - before["tokens"] for line, before in found),
        "seconds": sum(line["seconds"] - before["seconds"] for line, before in found),
        "peak_bytes": peak_of(lines, found, traced),
    }


def peak_of(
    lines: Mapping[int, dict[str, Any]],
    timed: Sequence[tuple[dict[str, Any], dict[str, Any]]],
    traced: dict[str, Any],
) -> int:
    """The most memory of the timed steps. On a CPU the trace is in the process too, so what was held before it counts."""
    if traced and not traced["on_device"]:
        return max(
            (int(line["peak_bytes"]) for step, line in lines.items() if step < traced["first_step"] - 1),
            default=0,
        )
    return max(int(line["peak_bytes"]) for line, _ in timed)
