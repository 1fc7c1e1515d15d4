"""`luthier data leaks`: show rows that hold a question of another set, side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.columns import NamedColumns, columns_of
from luthier.cli.options import AsJson

if TYPE_CHECKING:
    from luthier.reports.leaks import LeakCounts, LeaksReport

PAIRS_SHOWN, MOST_SHOWN = 10, 100_000
TOLD = {
    "exact": "the same question but for case",
    "folded": "but for case, signs and white space",
    "near": "nearly the same question",
    "run": "words in a row",
}


def leaks(
    rows: Annotated[list[Path], typer.Argument(metavar="ROWS...", help="The rows to train on: files or folders.", show_default=False)],
    against: Annotated[list[Path], typer.Option("--against", metavar="FILE", help="What the model will be measured by: test rows or a benchmark suite, a file or a folder. May be repeated.", show_default=False)],
    columns: NamedColumns = None,
    threshold: Annotated[float, typer.Option("--threshold", min=0.3, max=1.0, help="The Jaccard from which two questions are near.")] = 0.8,
    exact_only: Annotated[bool, typer.Option("--exact-only", help="Look for the same questions and shared runs of words only.")] = False,
    show_pairs: Annotated[int, typer.Option("--show", metavar="N", min=0, max=MOST_SHOWN, help="Show so many pairs side by side.")] = PAIRS_SHOWN,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Find rows that hold a question of another set, and show both side by side.

    A question leaks if it is the same, nearly the same, or if 13 words of it in a row stand anywhere in a row to train on.
    """
    from luthier.cli.leaks_picture import pair_pieces
    from luthier.cli.output import show_json, show_painted
    from luthier.cli.paint import has_colour
    from luthier.cli.screen import Screen
    from luthier.floor.stop import StopFlag, listen_for_stop

    with listen_for_stop(StopFlag()) as stop:
        from luthier.data.leaks.stage import LeaksTask, look_for_leaks

        task = LeaksTask(
            tuple(rows),
            tuple(against),
            None if exact_only else threshold,
            show_pairs,
            columns_of(columns),
        )
        report = look_for_leaks(task, listener=Screen(), stop=stop)
    if as_json:
        return show_json(report.model_dump(mode="json"))
    pieces = [(leaks_text(report), "")]
    for pair in report.pairs:
        pieces += [("\n\n", ""), *pair_pieces(pair, has_colour=has_colour())]
    return show_painted(pieces)


def leaks_text(report: "LeaksReport") -> str:
    """The counts of both sides."""
    counts = report.counts
    lines = [
        f"rows       {counts.rows_leaking:,} of {counts.rows:,} hold a question of the other set{_kinds(counts.kinds)}",
        f"questions  {counts.rows_leaked:,} of {counts.rows_against:,} are in the rows{_kinds(counts.leaked_kinds)}",
    ]
    lines += _limits(counts)
    if counts.rows_leaking:
        lines.append("kinds      " + "; ".join(f"{kind}: {TOLD[kind]}" for kind in counts.kinds))
        lines.append(
            "next       leave them out of a training: data.leaks.suites=[FILE] data.leaks.found=drop"
        )
    return "\n".join(lines)


def _kinds(kinds: dict[str, int]) -> str:
    return ": " + ", ".join(f"{count:,} {kind}" for kind, count in kinds.items()) if kinds else ""


def _limits(counts: "LeakCounts") -> list[str]:
    """What the search could not see."""
    from luthier.floor.units import count_of

    lines = []
    if counts.rows_too_short:
        lines.append(
            f"short      {count_of(counts.rows_too_short, 'question')} of fewer than eight words: found only if the whole is the same or near"
        )
    if counts.boilerplate_runs:
        lines.append(
            f"wording    {counts.boilerplate_runs:,} runs of eight words stand in more than ten questions and tell nothing"
        )
    return lines
