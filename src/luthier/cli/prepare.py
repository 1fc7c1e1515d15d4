"""`luthier prepare`: turn rows into prepared tokens, without training."""

from pathlib import Path
from typing import TYPE_CHECKING

from luthier.cli.options import Again, AsJson, RunFolder, Words

if TYPE_CHECKING:
    from luthier.floor.rundir import RunDir
    from luthier.reports.data import CleaningCounts, DataReport, SplitCounts


def prepare(
    words: Words = None, run: RunFolder = None, again: Again = False, as_json: AsJson = False
) -> None:
    """Prepare the tokens of a recipe's rows.

    Opens a run, so that `luthier train --run DIR` can go on with it. Tokens prepared before are found again.
    """
    from luthier.cli.opening import open_training
    from luthier.cli.output import show, show_json
    from luthier.cli.screen import Screen
    from luthier.floor.stop import StopFlag, listen_for_stop

    screen = Screen()
    opening = open_training(words, verb="prepare", folder=run, resume=None, again=again)
    with listen_for_stop(StopFlag()) as stop, opening as work:
        from luthier.data.stage import prepare as prepare_stage

        report = prepare_stage(work.recipe, work.run, listener=screen, stop=stop, again=again)
    if as_json:
        return show_json({"run": str(work.run.path), **report.model_dump(mode="json")})
    return show(prepared_text(work.run, report))


def prepared_text(run: "RunDir", report: "DataReport") -> str:
    """The books of both splits, the funnel from files to packs, and what to type next."""
    from luthier.cli.choose import shown_path
    from luthier.cli.funnel import funnel_lines
    from luthier.cli.source_table import source_lines

    lines = [f"run         {shown_path(run)}", f"tokens in   {report.store}"]
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
    from luthier.floor.units import count_of

    text = f"{count_of(counts.rows_kept, 'row')}, {count_of(counts.tokens, 'token')}, {counts.trained_tokens:,} of them trained"
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
