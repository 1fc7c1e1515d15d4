"""`luthier eval`: judge the tuned or the base model of a run on held-out rows."""

from typing import TYPE_CHECKING

from luthier.cli.options import Again, AsJson, RunName, Words

if TYPE_CHECKING:
    from luthier.floor.rundir import RunDir
    from luthier.reports.evaluate import EvaluateReport


def evaluate(words: Words = None, run: RunName = None, again: Again = False, as_json: AsJson = False) -> None:
    """Evaluate a run's model.

    The settings are the run's own; a recipe (configs/eval.yaml unless named) and the overrides go over them.
    """
    from luthier.cli.choose import choose_run, recipe_of_run, split_words
    from luthier.cli.output import show, show_json
    from luthier.cli.screen import Screen
    from luthier.floor.rundir import lock_run
    from luthier.floor.stop import StopFlag, listen_for_stop

    screen = Screen()
    name, overrides = split_words(words)
    chosen = choose_run(run, screen)
    resolved = recipe_of_run(chosen, name or default_recipe(), overrides)
    with listen_for_stop(StopFlag()) as stop:
        from luthier.evaluate.stage import evaluate as evaluate_stage

        with lock_run(chosen):
            report = evaluate_stage(resolved.recipe, chosen, listener=screen, stop=stop, again=again)
    if as_json:
        return show_json({"run": str(chosen.path), **report.model_dump(mode="json")})
    return show(evaluated_text(chosen, report))


def default_recipe() -> str | None:
    """`eval` if there is such a recipe; a run can be judged without."""
    from luthier.config.compose import list_recipes

    return "eval" if "eval" in list_recipes() else None


def evaluated_text(run: "RunDir", report: "EvaluateReport") -> str:
    """Every metric with its interval, and where the rows lie."""
    from luthier.cli.choose import shown_path
    from luthier.cli.output import figure, table

    rows = [("metric", "value", "95 % interval")]
    rows += [
        (name, figure(found.value), f"{figure(found.low)} to {figure(found.high)}")
        for name, found in report.metrics.items()
    ]
    lines = [
        f"{report.subject} model {report.model} on {report.rows:,} rows",
        "",
        table(rows, right=(1, 2)),
        "",
        f"every row: {shown_path(run)}/evaluate/{report.subject}/predictions.jsonl",
    ]
    if report.answers_unfinished or report.prompts_cut:
        lines.append(
            f"{report.answers_unfinished:,} answers reached max_new_tokens; {report.prompts_cut:,} prompts were cut"
        )
    other = "luthier eval eval_baseline" if report.subject != "base" else "luthier eval"
    lines.append(f"next: {other}, luthier compare")
    return "\n".join(lines)
