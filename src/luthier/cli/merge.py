"""`luthier merge`: one model out of base and adapter, proven to answer as both did."""

from typing import TYPE_CHECKING

from luthier.cli.options import Again, AsJson, RunName, Words

if TYPE_CHECKING:
    from luthier.floor.rundir import RunDir
    from luthier.reports.merge import MergeReport


def merge(words: Words = None, run: RunName = None, again: Again = False, as_json: AsJson = False) -> None:
    """Merge a run's adapter into its base.

    The merged folder is reloaded in a fresh process and compared with the adapter model on held-out rows; one that
    disagrees is deleted.
    """
    from luthier.cli.choose import finished_run, recipe_of_run, split_words
    from luthier.cli.output import show, show_json
    from luthier.cli.screen import Screen
    from luthier.floor.stop import StopFlag, listen_for_stop

    screen = Screen()
    name, overrides = split_words(words)
    chosen = finished_run(run, screen)
    resolved = recipe_of_run(chosen, name, overrides)
    with listen_for_stop(StopFlag()) as stop:
        from luthier.export.stage import merge as merge_stage

        report = merge_stage(resolved.recipe, chosen, listener=screen, stop=stop, again=again)
    if as_json:
        return show_json({"run": str(chosen.path), **report.model_dump(mode="json")})
    return show(merged_text(chosen, report))


def merged_text(run: "RunDir", report: "MergeReport") -> str:
    """Where the merged model lies and the figures that prove it."""
    from luthier.cli.choose import shown_path
    from luthier.floor.units import format_duration

    lines = [
        f"merged  {report.folder}",
        f"into    the {report.base} base, {report.dtype}",
        f"proof   {report.rows_checked:,} rows, {report.tokens_checked:,} tokens in a fresh process: largest logit "
        f"difference {report.max_logit_difference:.2e}, mean KL {report.mean_kl:.2e} nats a token, same first choice "
        f"{report.top1_agreement:.2%}",
    ]
    if report.kl_to_quantized is not None:
        lines.append(
            f"        mean KL from the quantized model as trained: {report.kl_to_quantized:.2e} nats a token"
        )
    if report.metric is not None:
        lines.append(f"        {report.metric} {report.metric_before} before, {report.metric_after} after")
    lines += [f"took    {format_duration(report.seconds)}", f"run     {shown_path(run)}"]
    return "\n".join(lines)
