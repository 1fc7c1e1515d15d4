"""`luthier data check`: every fault of rows in one pass, and a repaired copy where it is asked for."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.columns import NamedColumns, columns_of
from luthier.cli.options import AsJson

if TYPE_CHECKING:
    from luthier.config.data import DataConfig, FileFormat, SourceConfig
    from luthier.data.check.stage import Checked, CheckTask
    from luthier.reports.check import Finding, RepairBooks
    from luthier.text.columns import Columns

SHOWN_OF_A_KIND = 10
FINDINGS_AT_ONCE = 1000
FILES_NAMED = 3

Paths = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="[FILE|FOLDER]...",
        help="Files of rows in any format, or folders of them. Without them, those of --recipe.",
        show_default=False,
    ),
]


def data_check(
    paths: Paths = None,
    recipe: Annotated[str | None, typer.Option("--recipe", metavar="RECIPE", help="Take files, tokenizer and max_length from this recipe.", show_default=False)] = None,
    columns: NamedColumns = None,
    against: Annotated[list[Path] | None, typer.Option("--against", metavar="FILE", help="Look for the questions of this benchmark suite, a file or a folder. May be repeated.", show_default=False)] = None,
    tokenizer: Annotated[str | None, typer.Option("--tokenizer", "--model", metavar="NAME", help="Measure lengths with this model's tokenizer: a folder, a hub id, or `embedded`.", show_default=False)] = None,
    max_length: Annotated[int | None, typer.Option("--max-length", metavar="N", min=1, help="Tell every row of more than so many tokens.", show_default=False)] = None,
    fix: Annotated[bool, typer.Option("--fix", help="Write repaired copies and a ledger of every change into --out.")] = False,
    out: Annotated[Path | None, typer.Option("--out", metavar="FOLDER", help="Where repaired copies go: a folder that is not there yet.", show_default=False)] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the copies of an earlier repair.")] = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Find every fault of rows: broken lines, wrong shapes, repeats, leaks, bad characters, tool calls, refusals, lengths.

    Nothing is written without --fix, and the files themselves never are. Exit code 1 if a finding is an error.
    """
    from luthier.cli.screen import Screen
    from luthier.data.check.fix import check_out
    from luthier.data.check.fix import fix as write_copies
    from luthier.data.check.stage import check, find_inputs
    from luthier.floor.stop import StopFlag, listen_for_stop

    check_options(fix=fix, out=out, overwrite=overwrite)
    screen = Screen()
    task = task_of(paths, recipe, tokenizer, max_length)
    task = replace(task, against=(*task.against, *(against or ())))
    if named := columns_of(columns):
        task = replace(task, columns=dict.fromkeys(find_inputs(task.paths), named))
    if out:
        check_rows_are_whole(task)
        check_out(out, find_inputs(task.paths), overwrite=overwrite)
    with listen_for_stop(StopFlag()) as stop, check(task, listener=screen, stop=stop) as found:
        books = (
            write_copies(found.sources, out, overwrite=overwrite, listener=screen, stop=stop) if out else None
        )
        if as_json:
            show_as_json(found, books)
        else:
            show_as_text(found, books, task)
        has_errors = bool(found.store.count("error"))
    if has_errors:
        raise typer.Exit(1)


def check_options(*, fix: bool, out: Path | None, overwrite: bool) -> None:
    """Raise UsageError for options that only make sense together."""
    from luthier.floor.errors import UsageError

    if fix != (out is not None):
        what = (
            "--fix without a place for the copies" if fix else "--out without --fix: nothing would be written"
        )
        raise UsageError(
            "usage", what, where="the command line", fix="Give both: --fix --out outputs/checked"
        )
    if overwrite and out is None:
        what = "--overwrite without --out: there is nothing to replace"
        raise UsageError(
            "usage", what, where="the command line", fix="Leave it out, or add --fix --out FOLDER"
        )


def check_rows_are_whole(task: "CheckTask") -> None:
    """Raise UsageError for a copy of rows whose other columns it would lose."""
    from luthier.floor.errors import UsageError

    if task.columns:
        file = next(iter(task.columns))
        what = "--fix copies rows with all their fields, and only the columns that were named are checked"
        fix = f"Make rows of the columns first: luthier data convert {shlex.quote(str(file))} --columns FIELD=NAME --out rows.jsonl"
        raise UsageError("usage", what, where="the command line", fix=fix)


def task_of(
    paths: list[Path] | None, recipe: str | None, tokenizer: str | None, max_length: int | None
) -> "CheckTask":
    """What to check and what to measure it with. What the command line says goes before the recipe."""
    from luthier.data.check.measure import Measure
    from luthier.data.check.stage import CheckTask
    from luthier.floor.errors import UsageError
    from luthier.knowledge.model_folder import find_model

    task = CheckTask(()) if recipe is None else from_recipe(recipe)
    task = replace(task, paths=tuple(paths or ()) or task.paths)
    if not task.paths:
        raise UsageError(
            "usage",
            "no file to check",
            where="the command line",
            fix="Name files or a folder: luthier data check data",
        )
    if tokenizer is not None:
        folder = find_model(tokenizer)
        measure = replace(task.measure, tokenizer=folder) if task.measure else Measure(folder)
        task = replace(task, measure=measure)
    if max_length is not None:
        if task.measure is None:
            what = f"--max-length {max_length} counts tokens, and there is no tokenizer"
            raise UsageError("usage", what, where="the command line", fix="Name one: --tokenizer NAME")
        task = replace(task, measure=replace(task.measure, max_length=max_length))
    return task


def from_recipe(name: str) -> "CheckTask":
    """The files and suites of a recipe on this machine, and its tokenizer, if it has one already."""
    from luthier.cli.output import tell
    from luthier.cli.screen import Screen
    from luthier.config.compose import load_recipe
    from luthier.data.check.measure import Measure
    from luthier.data.check.stage import CheckTask
    from luthier.data.sources import is_hub_id, source_configs
    from luthier.data.tokenizer import find_tokenizer
    from luthier.floor.errors import ModelError
    from luthier.text.columns import named_columns
    from luthier.text.row_files import find_files, warn_of_files_passed_over

    resolved, screen = load_recipe(name), Screen()
    for warning in resolved.warnings:
        tell(f"warning: {warning}")
    data = resolved.recipe.data
    places: list[tuple[str, SourceConfig | DataConfig]] = [(each.path, each) for each in source_configs(data)]
    if data.validation_path:
        places.append((data.validation_path, data))
    columns: dict[Path, Columns] = {}
    formats: dict[Path, FileFormat] = {}
    for path, read in places:
        if is_hub_id(path):
            tell(f"warning: {path} is a dataset of the hub and was not checked")
            continue
        warn_of_files_passed_over(Path(path), screen, read.pattern)
        files = find_files(Path(path), read.pattern)
        formats |= dict.fromkeys(files, read.file_format)
        if named := named_columns(read.columns):
            columns |= dict.fromkeys(files, named)
    suites = tuple(Path(suite) for suite in data.leaks.suites)
    try:
        tokenizer = find_tokenizer(resolved.recipe)
    except ModelError as fault:  # rows can be judged without it, but for their length
        tell(f"warning: lengths cannot be measured: {fault.what}")
        tokenizer = None
    measure = Measure(tokenizer, data.max_length, data.template, data.train_on) if tokenizer else None
    return CheckTask(tuple(formats), suites, measure, columns, formats)


def show_as_json(found: "Checked", books: "RepairBooks | None") -> None:
    """One object, written piece by piece: there may be more findings than fit into memory."""
    import json

    from luthier.cli.output import json_text, show

    show(f'{{\n  "rows": {found.rows},\n  "findings": [')
    waiting: list[str] = []
    total = sum(found.store.counts.values())
    for told, finding in enumerate(found.store.by_place(), start=1):
        waiting.append(f"    {json_text(finding.model_dump(), indent=None)}{',' if told < total else ''}")
        if len(waiting) >= FINDINGS_AT_ONCE or told == total:
            show("\n".join(waiting))
            waiting = []
    counts = json.dumps(dict(sorted(found.store.counts.items())))
    end = f'  ],\n  "counts": {counts}'
    if books:
        end += f',\n  "repair": {json_text(books.model_dump(), indent=None)}'
    show(end + "\n}")


def show_as_text(found: "Checked", books: "RepairBooks | None", task: "CheckTask") -> None:
    """The findings, gravest first, the first of each kind; a table of all; what lengths cost; what was repaired."""
    from luthier.cli.output import show

    lines = [
        *finding_lines(found),
        *summary_lines(found),
        *length_lines(found, measured=task.measure is not None),
    ]
    if books:
        lines += book_lines(books)
    elif mendable(found) and not task.columns:  # a copy would lose the other columns
        lines.append(f"next       what can be mended, in a copy: {repair_command(found.files)}")
    show("\n".join(lines))


def repair_command(files: Sequence[Path]) -> str:
    """The line to type for a repaired copy; many files are better named by their folder."""
    named = " ".join(shlex.quote(str(file)) for file in files) if len(files) <= FILES_NAMED else "FOLDER"
    return f"luthier data check {named} --fix --out outputs/checked"


def finding_lines(found: "Checked") -> Iterator[str]:
    """`file:line: error: reason: what to do [kind]`, and how many more there are of a kind."""
    from luthier.data.check.kinds import KINDS

    for severity in ("error", "warning", "note"):
        for kind in (kind for kind, facts in KINDS.items() if facts.severity == severity):
            count = found.store.counts[kind]
            for finding in found.store.of_kind(kind, most=SHOWN_OF_A_KIND):
                yield finding_line(finding)
            if count > SHOWN_OF_A_KIND:
                yield f"... and {count - SHOWN_OF_A_KIND:,} more {severity}s of {kind}; all of them: --json"


def finding_line(finding: "Finding") -> str:
    """One finding on one line."""
    place = f"{finding.file}:{finding.line}"
    return f"{place}: {finding.severity}: {finding.message}: {finding.fix} [{finding.kind}]".replace(
        "\n", " "
    )


def summary_lines(found: "Checked") -> list[str]:
    """How many findings of each kind; or that there is nothing to do."""
    from luthier.cli.output import table
    from luthier.data.check.kinds import KINDS
    from luthier.floor.units import count_of

    store = found.store
    errors, warnings, notes = (store.count(severity) for severity in ("error", "warning", "note"))
    files = count_of(len(found.files), "file") if len(found.files) > 1 else str(found.files[0])
    lines = []
    if store.counts:
        rows = [("kind", "severity", "findings", "what", "--fix")]
        order = {"error": 0, "warning": 1, "note": 2}
        for kind, facts in sorted(KINDS.items(), key=lambda item: order[item[1].severity]):
            if store.counts[kind]:
                rows.append((kind, facts.severity, f"{store.counts[kind]:,}", facts.title, facts.mended))
        lines += ["", table(rows, right=(2,)), ""]
    if not errors and not warnings:
        more = f" ({count_of(notes, 'note')})" if notes else ""
        return [*lines, f"no faults in {count_of(found.rows, 'row')} of {files}{more}"]
    counts = ", ".join(
        count_of(count, word) for count, word in ((errors, "error"), (warnings, "warning"), (notes, "note"))
    )
    return [*lines, f"{counts} in {count_of(found.rows, 'row')} of {files}"]


def length_lines(found: "Checked", *, measured: bool) -> list[str]:
    """What each max_length would cost; or how to find out."""
    from luthier.cli.output import table

    if not measured:
        return ["lengths were not measured; to measure them: --tokenizer NAME, or --recipe RECIPE"]
    if not found.costs:
        return []
    rows = [("max_length", "rows cut", "trained tokens lost")]
    rows += [(f"{length:,}", f"{cut:,}", f"{lost:.2%}") for length, cut, lost in found.costs]
    return ["", table(rows, right=(0, 1, 2))]


def mendable(found: "Checked") -> bool:
    """Whether `--fix` would do anything."""
    from luthier.data.check.kinds import KINDS

    return any(KINDS[kind].mended for kind, count in found.store.counts.items() if count)


def book_lines(books: "RepairBooks") -> list[str]:
    """`repaired   12 rows in = 9 kept (2 edited) + 3 dropped`, by kind, and where it lies."""
    from luthier.floor.units import count_of

    dropped = sum(books.dropped.values())
    lines = [
        "",
        f"repaired   {count_of(books.rows_in, 'row')} in = {books.rows_kept:,} kept ({books.rows_edited:,} edited) + {dropped:,} dropped",
    ]
    lines += [f"{'':<11}{count:,} {kind} edited" for kind, count in books.edits.items()]
    lines += [f"{'':<11}{count:,} {kind} dropped" for kind, count in books.dropped.items()]
    lines += [f"copy       {copy}" for copy in books.files.values()]
    lines.append(f"ledger     {books.ledger}")
    return lines
