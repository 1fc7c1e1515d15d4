"""`luthier train`: prepare the tokens, then train, in a new run or in one that is named."""

from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.options import Again, AsJson, RunFolder, Words

if TYPE_CHECKING:
    from luthier.floor.rundir import RunDir
    from luthier.reports.train import TrainReport

Resume = Annotated[
    str | None,
    typer.Option(
        "--resume",
        metavar="RUN",
        help="Continue this run from its newest valid checkpoint; exit code 7 if it has none.",
        show_default=False,
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Judge recipe, model and data; open no run, train nothing.")
]


def train(
    words: Words = None,
    run: RunFolder = None,
    resume: Resume = None,
    again: Again = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Train as a recipe says.

    A new run is opened below outputs/runs, and outputs/runs/latest points to it. With --run DIR, that run is started,
    continued or returned: it is the command to repeat after a crash or exit code 75.
    """
    from luthier.cli.opening import open_training
    from luthier.cli.output import show, show_json
    from luthier.cli.rehearse import rehearse
    from luthier.cli.screen import Screen
    from luthier.floor.stop import StopFlag, listen_for_stop

    if dry_run:
        return rehearse(words, as_json=as_json)
    screen = Screen()
    opening = open_training(words, verb="train", folder=run, resume=resume, again=again)
    with listen_for_stop(StopFlag()) as stop, opening as work:
        from luthier.data.stage import prepare
        from luthier.train.stage import check_machine
        from luthier.train.stage import train as train_stage

        screen.say(f"run {work.run.path}")
        check_machine(work.recipe)
        prepare(work.recipe, work.run, listener=screen, stop=stop, again=again)
        report = train_stage(work.recipe, work.run, listener=screen, stop=stop, again=again)
    if as_json:
        return show_json({"run": str(work.run.path), **report.model_dump(mode="json")})
    return show(trained_text(work.run, report))


def trained_text(run: "RunDir", report: "TrainReport") -> str:
    """What the training was and reached, and what to type next."""
    from luthier.cli.choose import shown_path
    from luthier.cli.funnel import funnel_lines
    from luthier.floor.units import format_bytes, format_count, format_duration

    trained = (
        f"{format_count(report.parameters_trained)} of {format_count(report.parameters_total)} parameters"
    )
    loss = f"{report.first_loss:.4f} to {report.final_loss:.4f}"
    if report.validation_loss is not None:
        loss += f", validation {report.validation_loss:.4f}"
    lines = [
        f"run     {shown_path(run)}",
        f"model   {report.method} over {report.base}, {trained}, {report.precision}",
        f"data    {report.rows_seen:,} rows, {report.tokens_seen:,} tokens, {report.epochs:g} epochs, {report.steps:,} steps",
        f"loss    {loss} nats a token" + (", stopped early" if report.stopped_early else ""),
        f"took    {format_duration(report.seconds)}, {format_count(report.tokens_per_second)} tokens/s, "
        f"at most {format_bytes(report.peak_bytes)}",
        "next    luthier eval, luthier eval eval_baseline, luthier compare, luthier merge",
    ]
    if report.ledger:
        lines[-1:-1] = ["", *funnel_lines(report.ledger), f"dropped {report.dropped_file}", ""]
    return "\n".join(lines)
