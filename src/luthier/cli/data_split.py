"""`luthier data split`: training, validation and test files, none of which asks what another asks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.columns import NamedColumns, columns_of
from luthier.cli.options import AsJson

if TYPE_CHECKING:
    from luthier.reports.split import SplitReport


def data_split(
    sources: Annotated[list[Path], typer.Argument(metavar="SOURCE...", help="Files of rows in any format, or folders of them.", show_default=False)],
    out: Annotated[Path | None, typer.Option("--out", metavar="FOLDER", help="Where train.jsonl, validation.jsonl and test.jsonl go.", show_default=False)] = None,
    columns: NamedColumns = None,
    validation: Annotated[float, typer.Option("--validation", min=0, max=0.9, help="The share of rows to validate on.")] = 0.05,
    test: Annotated[float, typer.Option("--test", min=0, max=0.9, help="The share of rows to test on.")] = 0.1,
    group_by: Annotated[str | None, typer.Option("--group-by", metavar="FIELD", help="Never part rows with one value of this field.", show_default=False)] = None,
    stratify_by: Annotated[str | None, typer.Option("--stratify-by", metavar="FIELD", help="Give every side its share of each value of this field.", show_default=False)] = None,
    seed: Annotated[int, typer.Option("--seed", help="Another seed is another split.")] = 42,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the files of an earlier split.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing; show how many rows each side would get.")] = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Split rows into training, validation and test files.

    A row's side depends on what it asks and on the seed, not on its place: rows can be added later, and none changes sides.
    """
    from luthier.cli.output import show, show_json
    from luthier.cli.screen import Screen
    from luthier.floor.errors import UsageError
    from luthier.floor.stop import StopFlag, listen_for_stop

    if out is None and not dry_run:
        fix = "Name a folder: --out data/split; or look first: --dry-run"
        raise UsageError("usage", "there is no folder for what is split", where="--out", fix=fix)
    if validation + test >= 1:
        what = f"--validation {validation:g} and --test {test:g} leave no row to train on"
        raise UsageError("usage", what, where="the command line", fix="Ask for less; 0.05 and 0.1 are usual.")
    with listen_for_stop(StopFlag()) as stop:
        from luthier.data.split_files import SplitTask, split_files

        task = SplitTask(
            sources=tuple(sources),
            shares={"validation": validation, "test": test},
            seed=seed,
            columns=columns_of(columns),
            group_by=group_by,
            stratify_by=stratify_by,
            out=None if dry_run else out,
            overwrite=overwrite,
        )
        report = split_files(task, listener=Screen(), stop=stop)
    if as_json:
        return show_json(report.model_dump(mode="json"))
    return show(split_text(report))


def split_text(report: "SplitReport") -> str:
    """A line a side, what never straddles, and what to type next."""
    from luthier.floor.units import count_of

    what = f"values of {report.group_by}" if report.group_by else "questions (case and signs aside)"
    lines = [f"rows        {report.rows_in:,} with {report.keys:,} different {what}; none is on two sides"]
    for name, side in report.sides.items():
        where = f"  {side.file}" if side.file else ""
        lines.append(
            f"{name:<10}  {count_of(side.rows, 'row')}, {100 * side.share:.1f} % of {100 * side.share_asked:.3g} % asked{where}"
        )
    lines += [f"{'stratum' if not number else '':<10}  {line}" for number, line in enumerate(_strata(report))]
    train, test = report.sides["train"].file, report.sides["test"].file
    if train and test:
        lines.append(f"next        luthier data leaks {train} --against {test}")
    elif not train:
        lines.append("Nothing was written: this was a dry run.")
    return "\n".join(lines)


def _strata(report: "SplitReport") -> list[str]:
    """The largest strata, at most ten."""
    shown = list(report.strata.items())[:10]
    return [
        f"{name[:40]}: " + " + ".join(f"{rows:,} {side}" for side, rows in sides.items())
        for name, sides in shown
    ]
