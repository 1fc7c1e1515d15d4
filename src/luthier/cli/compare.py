"""`luthier compare`: a run against its base, or against another run, paired row by row."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.options import AsJson

if TYPE_CHECKING:
    from luthier.cli.screen import Screen
    from luthier.config.recipe import Recipe
    from luthier.floor.rundir import RunDir
    from luthier.floor.stop import StopFlag
    from luthier.reports.evaluate import CompareReport

BASE = "base"

Compared = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN] [RUN|base] [KEY=VALUE]...",
        help="The run to judge, the newest finished one unless named; what it is compared with, its base unless named; and "
        "settings of the evaluation, such as evaluate.gate_metric=rouge1.",
        show_default=False,
    ),
]


def compare(words: Compared = None, as_json: AsJson = False) -> None:
    """Compare a run with its base or with another run; exit code 1 if the gate metric says no.

    What was not evaluated yet is evaluated first, with the settings that `luthier eval` would take.
    """
    from luthier.cli.choose import finished_run, split_compared
    from luthier.cli.output import show, show_json, tell
    from luthier.cli.screen import Screen
    from luthier.floor.stop import StopFlag, listen_for_stop

    screen = Screen()
    run, against, overrides = split_compared(words)
    tuned = finished_run(run, screen)
    recipe = evaluation_recipe(tuned, overrides)
    with listen_for_stop(StopFlag()) as stop:
        from luthier.evaluate.compare import compare as compare_reports

        tuned_folder = evaluated(tuned, recipe, "tuned", screen, stop)
        if against == BASE:
            base_folder = evaluated(tuned, recipe, BASE, screen, stop)
        else:
            other = finished_run(against, screen)
            base_folder = evaluated(other, evaluation_recipe(other, overrides), "tuned", screen, stop)
        report = compare_reports(tuned, base_folder, tuned_folder, recipe)
    if as_json:
        show_json({"run": str(tuned.path), **report.model_dump(mode="json")})
    else:
        show(compared_text(report))
    if not report.passed:
        tell(refusal(report, recipe))
        raise typer.Exit(1)


def evaluation_recipe(run: "RunDir", overrides: Sequence[str]) -> "Recipe":
    """The recipe by which `luthier eval` judges the run: its own, the recipe `eval` over it, and the overrides."""
    from luthier.cli.choose import recipe_of_run
    from luthier.cli.evaluate import default_recipe

    return recipe_of_run(run, default_recipe(), overrides).recipe


def evaluated(run: "RunDir", recipe: "Recipe", subject: str, screen: "Screen", stop: "StopFlag") -> Path:
    """The folder with a subject's evaluation, made now if it is not there or its inputs changed."""
    from luthier.evaluate.stage import evaluate
    from luthier.floor.rundir import lock_run

    with lock_run(run):
        evaluate(recipe, run, listener=screen, stop=stop, subject=subject)
    return run.stage("evaluate") / subject


def compared_text(report: "CompareReport") -> str:
    """One line a metric: base, tuned, and the difference with its interval."""
    from luthier.cli.output import figure, table

    rows = [("metric", "base", "tuned", "difference", "95 % interval")]
    rows += [
        (
            name,
            figure(found.base),
            figure(found.tuned),
            f"{found.delta:+.3f}",
            f"{found.low:+.3f} to {found.high:+.3f}",
        )
        for name, found in report.metrics.items()
    ]
    return "\n".join(
        [
            f"base: {report.base_name}; tuned: {report.tuned_name}; {report.rows:,} rows, paired",
            "",
            table(rows, right=(1, 2, 3, 4)),
            "",
            f"{report.gate_metric}: {len(report.rows_won):,} rows won, {len(report.rows_lost):,} lost",
        ]
    )


def refusal(report: "CompareReport", recipe: "Recipe") -> str:
    """Why the gate said no, as an error is written."""
    from luthier.floor.errors import GateError

    found = report.metrics[report.gate_metric]
    wanted = "above 0" if recipe.evaluate.gate == "better" else "not below 0"
    return GateError(
        "gate-compare",
        f"{report.gate_metric} went from {found.base:.3f} to {found.tuned:.3f}",
        why=f"The interval of the difference is {found.low:+.3f} to {found.high:+.3f}; evaluate.gate "
        f"= {recipe.evaluate.gate} wants it {wanted}.",
        fix="Read the rows that were lost: predictions.jsonl in the run's evaluate folder.",
    ).render()
