"""`luthier data`: work on data before it is prepared."""

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.columns import NamedColumns, columns_of
from luthier.cli.data_check import data_check
from luthier.cli.data_report import data_report
from luthier.cli.data_show import data_show
from luthier.cli.data_split import data_split
from luthier.cli.data_synth import synth
from luthier.cli.dedup import dedup
from luthier.cli.leaks import leaks
from luthier.cli.options import AsJson

if TYPE_CHECKING:
    from luthier.reports.convert import ConvertReport, LedgerCounts

data = typer.Typer(help="Work on rows, from an export to a picture of what is trained.", no_args_is_help=True)

SHOWN_CHARACTERS = 400


class DialectName(enum.StrEnum):
    """The dialects; a test holds them against the stage's."""

    CHATGPT = "chatgpt"
    OASST = "oasst"
    MT_BENCH = "mt-bench"
    OPENAI = "openai"
    SHAREGPT = "sharegpt"
    ALPACA = "alpaca"
    PROMPT_COMPLETION = "prompt-completion"
    QUESTION_ANSWER = "question-answer"
    TEXT = "text"


class RowForm(enum.StrEnum):
    """What rows can be made."""

    MESSAGES = "messages"
    PROMPT_COMPLETION = "prompt_completion"


class Branches(enum.StrEnum):
    """Which paths of a tree become rows."""

    CURRENT = "current"
    ALL = "all"
    LONGEST = "longest"


class Tools(enum.StrEnum):
    """What becomes of tool calls and their output."""

    DROP = "drop"
    TEXT = "text"


class Keep(enum.StrEnum):
    """What is left out unless it is asked for."""

    HIDDEN = "hidden"
    INSTRUCTIONS = "instructions"


@data.callback()
def _data() -> None:
    """Work on rows, from an export to a picture of what is trained."""


@data.command("convert", short_help="Make JSON lines of an export, or of rows in any format.")
def convert(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A file of any format, a folder or a zip archive.")],
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where the rows go.", show_default=False)] = None,
    dialect: Annotated[DialectName | None, typer.Option("--from", metavar="NAME", help="The dialect of the source. Without it, it is recognised.", show_default=False)] = None,
    columns: NamedColumns = None,
    form: Annotated[RowForm | None, typer.Option("--to", help="What the rows become. Without it, what holds the dialect best.", show_default=False)] = None,
    branches: Annotated[Branches, typer.Option("--branches", help="Which paths of a conversation with branches become rows.")] = Branches.CURRENT,
    tools: Annotated[Tools, typer.Option("--tools", help="Leave tool calls and their output out, or write them as text.")] = Tools.DROP,
    keep: Annotated[list[Keep] | None, typer.Option("--keep", help="Keep hidden messages, or custom instructions as a system turn.", show_default=False)] = None,
    skip_faulty: Annotated[bool, typer.Option("--skip-faulty", help="Count records that cannot be read instead of refusing them all.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file that is there.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the counts and the first rows; write nothing.")] = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Convert an export, or rows in any dialect and format, to JSON lines.

    What is left out is counted by reason, in the report beside the rows.
    """
    from luthier.cli.output import show, show_json
    from luthier.cli.screen import Screen
    from luthier.data.convert.stage import Request
    from luthier.data.convert.stage import convert as convert_stage
    from luthier.floor.errors import UsageError
    from luthier.floor.stop import StopFlag, listen_for_stop
    from luthier.text.dialects.turns import Choices

    if not source:  # to a path, nothing is the folder that one stands in
        raise UsageError(
            "usage", "SOURCE is empty", where="the command line", fix="Name a file, a folder or a zip."
        )
    request = Request(
        source=Path(source),
        output=out,
        dialect=dialect.value if dialect else None,
        columns=columns_of(columns),
        form=form.value if form else None,
        choices=Choices(branches.value, tools.value, frozenset(each.value for each in keep or [])),
        skip_faulty=skip_faulty,
        overwrite=overwrite,
        is_dry=dry_run,
    )
    with listen_for_stop(StopFlag()) as stop:
        report = convert_stage(request, listener=Screen(), stop=stop)
    if as_json:
        return show_json(report.model_dump(mode="json"))
    return show(converted_text(report, is_dry=dry_run))


data.command("check", short_help="Find every fault of rows, and repair a copy.")(data_check)
data.command("dedup", short_help="Leave out rows that repeat others.")(dedup)
data.command("split")(data_split)
data.command("leaks", short_help="Find rows that hold a question of another set.")(leaks)
data.command("synth", short_help="Ask a model for rows, a prompt for each seed.")(synth)
data.command("show", short_help="Show rows and batches as the model will learn them.")(data_show)
data.command("report", short_help="Write one HTML page about prepared data.")(data_report)


def converted_text(report: "ConvertReport", *, is_dry: bool) -> str:
    """The books, the place of the rows, and what to type next; in a dry run the first rows instead."""
    from luthier.data.convert.writer import report_path

    lines = [f"dialect        {report.dialect}", *ledger_lines("conversations", report.conversations)]
    if report.threads.came_in != report.conversations.came_in:
        lines += ledger_lines("threads", report.threads)
    lines += ledger_lines("messages", report.messages)
    lines += [f"{'changed':<15}{count:,}  {note}" for note, count in report.notes.items()]
    if is_dry:
        lines.append(
            f"rows           {report.rows:,} of {report.format}; nothing was written; the first ones:"
        )
        return "\n".join([*lines, *(shown_row(row) for row in report.sample)])
    lines.append(f"rows           {report.rows:,} of {report.format} in {report.output}")
    lines.append(f"report         {report_path(Path(report.output))}")
    lines.append(f"next           luthier train RECIPE data.path={report.output} data.format={report.format}")
    return "\n".join(lines)


def ledger_lines(name: str, counts: "LedgerCounts") -> list[str]:
    """`messages  31 = 9 kept + 22 left out`, and a line a reason."""
    lines = [
        f"{name:<15}{counts.came_in:,} = {counts.kept:,} kept + {sum(counts.dropped.values()):,} left out"
    ]
    return lines + [f"{'':<15}{count:,}  {reason}" for reason, count in counts.dropped.items()]


def shown_row(row: dict[str, object]) -> str:
    """A row as one line, cut where it is long."""
    import json

    line = json.dumps(row, ensure_ascii=False)
    return (
        line if len(line) <= SHOWN_CHARACTERS else f"{line[:SHOWN_CHARACTERS]} ... ({len(line):,} characters)"
    )
