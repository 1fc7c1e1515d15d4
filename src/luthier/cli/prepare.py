"""`luthier prepare`: turn rows into prepared tokens, without training."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.options import Again, AsJson, RunFolder, Words

if TYPE_CHECKING:
    from luthier.floor.rundir import RunDir
    from luthier.reports.data import CleaningCounts, DataReport, PreparePlan, SplitCounts


FILES_SHOWN = 10
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Count the rows and tokenize some of them; open no run, write nothing."),
]


def prepare(
    words: Words = None,
    run: RunFolder = None,
    again: Again = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Prepare the tokens of a recipe's rows.

    Opens a run, so that `luthier train --run DIR` can go on with it. Tokens prepared before are found again.
    """
    from luthier.cli.opening import open_training
    from luthier.cli.output import show, show_json
    from luthier.cli.screen import Screen
    from luthier.floor.stop import StopFlag, listen_for_stop

    if dry_run:
        return foresee(words, run, as_json=as_json)
    screen = Screen()
    opening = open_training(words, verb="prepare", folder=run, resume=None, again=again)
    with listen_for_stop(StopFlag()) as stop, opening as work:
        from luthier.data.stage import prepare as prepare_stage

        report = prepare_stage(work.recipe, work.run, listener=screen, stop=stop, again=again)
    if as_json:
        return show_json({"run": str(work.run.path), **report.model_dump(mode="json")})
    return show(prepared_text(work.run, report))


def foresee(words: list[str] | None, run: Path | None, *, as_json: bool) -> None:
    """Say what a preparation would read, do and write."""
    from luthier.cli.choose import need_recipe
    from luthier.cli.output import show, show_json, tell
    from luthier.cli.screen import Screen
    from luthier.config.compose import load_recipe
    from luthier.floor.errors import UsageError
    from luthier.floor.stop import StopFlag, listen_for_stop

    if run is not None:
        what = f"--dry-run opens no run, and --run names {run}"
        raise UsageError("usage", what, where="the command line", fix="Leave one of them out.")
    resolved = load_recipe(*need_recipe(words, verb="prepare"))
    for warning in resolved.warnings:
        tell(f"warning: {warning}")
    with listen_for_stop(StopFlag()) as stop:
        from luthier.data.stage import foresee as foresee_stage

        plan = foresee_stage(resolved.recipe, listener=Screen(), stop=stop)
    if as_json:
        return show_json(plan.model_dump(mode="json"))
    return show(plan_text(plan))


def plan_text(plan: "PreparePlan") -> str:
    """The files, the rows, what would become of them, and where."""
    from luthier.floor.units import count_of, format_bytes

    files = list(plan.files.items())
    lines = [
        f"{'' if number else 'read':<12}{name}, {format_bytes(size)}"
        for number, (name, size) in enumerate(files[:FILES_SHOWN])
    ]
    if len(files) > FILES_SHOWN:
        lines.append(
            f"{'':<12}and {len(files) - FILES_SHOWN:,} more, {format_bytes(sum(plan.files.values()))} in all"
        )
    lines.append(
        f"rows        {count_of(plan.rows, 'row')} of {plan.format}, by the {plan.template} template"
    )
    if plan.validation_rows is not None:
        lines.append(f"validation  {count_of(plan.validation_rows, 'row')}")
    lines += [f"{'' if number else 'then':<12}{step}" for number, step in enumerate(plan.steps)]
    if plan.guessed:
        guessed = plan.guessed
        lines.append(
            f"tokens      about {guessed.tokens:,}, {guessed.trained_tokens:,} of them trained; about "
            f"{count_of(guessed.rows_too_long, 'row')} too long (from {count_of(guessed.rows_drawn, 'row')} drawn, as they are read)"
        )
    elif plan.tokenizer is None:
        lines.append("tokens      not guessed: the tokenizer would be trained on the rows")
    kept_in = "tokens in" if plan.tokenization == "cached" else "texts in"
    lines.append(f"{kept_in:<12}{plan.store}{', there already' if plan.is_prepared else ''}")
    lines.append("Nothing was written: this was a dry run.")
    return "\n".join(lines)


def prepared_text(run: "RunDir", report: "DataReport") -> str:
    """The books of both splits, the funnel from files to packs, and what to type next."""
    from luthier.cli.choose import shown_path
    from luthier.cli.funnel import funnel_lines
    from luthier.cli.source_table import source_lines

    kept_in = "tokens in" if report.tokenization == "cached" else "texts in"
    lines = [f"run         {shown_path(run)}", f"{kept_in:<12}{report.store}"]
    how = "taken as they are" if report.format == "tokens" else f"rendered by the {report.template} template"
    lines.append(f"rows        {report.format}, {how}")
    if report.cleaning is not None:
        lines += cleaned_text(report.cleaning, Path(report.store))
    lines.append(f"training    {split_text(report.train)}")
    if report.validation is not None:
        lines.append(f"validation  {split_text(report.validation)}")
    if mixed := source_lines(report.sources):
        lines += ["", *mixed]
    lines += ["", *funnel_lines(report.ledger), ""]
    if any(books.rows.left_out or (books.tokens and books.tokens.left_out) for books in report.ledger):
        lines.append(f"dropped     {report.dropped_file}")
    lines.append(f"next        luthier train --run {shown_path(run)}")
    return "\n".join(lines)


def cleaned_text(counts: "CleaningCounts", store: Path) -> list[str]:
    """What cleaning did, a line a filter, and where to look at it."""
    from luthier.data.clean.ledger import DIFF, DROPPED, FOLDER
    from luthier.data.clean.tell import cleaning_lines, cleaning_summary

    lines = [f"cleaning    {cleaning_summary(counts)}"]
    lines += [f"            {line}" for line in cleaning_lines(counts)]
    folder = store / FOLDER
    if any(each.rows_edited for each in counts.filters.values()):
        lines.append(f"edits       {folder / DIFF}")
    if counts.rows_kept < counts.rows_in:
        lines.append(f"left out    {folder / DROPPED}")
    return lines


def split_text(counts: "SplitCounts") -> str:
    """`4,862 rows, 300,000 tokens, 120,000 of them trained; 3 truncated, 2 dropped (untrained 2)`."""
    from luthier.reports.data import rows_and_tokens

    text = rows_and_tokens(counts)
    notes = []
    if counts.rows_truncated:
        notes.append(
            f"{counts.rows_truncated:,} truncated ({counts.trained_tokens_lost:,} trained tokens lost)"
        )
    if counts.rows_added_by_splitting:
        notes.append(f"{counts.rows_added_by_splitting:,} more by splitting")
    dropped = {reason: rows for reason, rows in counts.dropped.items() if rows}
    if dropped:
        reasons = ", ".join(f"{reason} {rows:,}" for reason, rows in dropped.items())
        notes.append(f"{sum(dropped.values()):,} dropped ({reasons})")
    return "; ".join([text, ", ".join(notes)]) if notes else text
