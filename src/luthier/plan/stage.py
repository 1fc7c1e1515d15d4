"""The plan stage: what a recipe will take and cost, from configuration, headers and file sizes alone. It writes nothing."""

from pathlib import Path

from luthier.config.method import LoraMethod
from luthier.config.recipe import Recipe
from luthier.knowledge.training_memory import trained_numbers
from luthier.plan.compute import MeasuredSpeed, time_of
from luthier.plan.device import planned_device
from luthier.plan.disk import disk_of
from luthier.plan.fit import fits, ladder
from luthier.plan.memory import memory_of, tightest
from luthier.plan.model import planned_model
from luthier.plan.settings import judge_settings
from luthier.plan.tokens import guessed_tokens, prepared_tokens
from luthier.reports.data import DataReport
from luthier.reports.plan import Parameters, PlanReport


def plan(
    recipe: Recipe,
    *,
    name: str,
    gpu: str | None = None,
    price_per_hour: float | None = None,
    prepared: DataReport | None = None,
    prepared_by: str = "",
    measured: MeasuredSpeed | None = None,
    with_ladder: bool = False,
) -> PlanReport:
    """Foresee the recipe. `name` is how it is called; `prepared` is a run's report of its tokens, if there is one.

    Raises ModelError for a model that is not here or of unknown sizes, UsageError for an unknown GPU.
    """
    device = planned_device(recipe, gpu)
    model = planned_model(recipe)
    memory = memory_of(model, recipe, device)
    tokens = (
        prepared_tokens(prepared, recipe, f"prepared by {prepared_by}")
        if prepared is not None and prepared.train.tokens is not None
        else guessed_tokens(recipe, model.shape.vocabulary)
    )
    time = time_of(model, recipe, device, tokens, measured, price_per_hour=price_per_hour)

    def seconds_of(changed: Recipe) -> float | None:
        return time_of(model, changed, device, tokens, None, price_per_hour=None).seconds

    is_adapted = isinstance(recipe.method, LoraMethod)
    trainable = trained_numbers(model.shape, recipe) if is_adapted else model.parameters
    return PlanReport(
        recipe=name,
        model=model.name,
        family=model.family,
        method=recipe.method.kind,
        gpu=device.name,
        gpu_bytes=device.memory_bytes,
        precision=device.precision,
        parameters=Parameters(total=model.parameters, trainable=trainable, source=model.source),
        memory=memory,
        tokens=tokens,
        time=time,
        disk=disk_of(model, recipe, tokens),
        fits=fits(memory, device),
        tightest=tightest(memory, device),
        findings=tuple(judge_settings(model, recipe, device, tokens, eval_rows=_rows_of(recipe))),
        ladder=tuple(ladder(model, recipe, device, seconds_of)) if with_ladder else (),
    )


def _rows_of(recipe: Recipe) -> int | None:
    """The held-out rows, if they lie in a file of lines."""
    file = Path(recipe.evaluate.path)
    if not file.is_file() or file.suffix != ".jsonl":
        return None
    with file.open("rb") as opened:
        count = sum(1 for line in opened if line.strip())
    return min(count, recipe.evaluate.most_rows or count)
