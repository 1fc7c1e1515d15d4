"""`luthier audit`: the log of what a server was asked."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.options import AsJson

if TYPE_CHECKING:
    from luthier.reports.audit import AuditReport

audit = typer.Typer(help="Look after the audit log of a server.", no_args_is_help=True)


@audit.callback()
def _audit() -> None:
    """Look after the audit log of a server."""


@audit.command("verify", short_help="Tell whether a log was changed, and where.")
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The log.")],
    anchors: Annotated[
        list[str] | None,
        typer.Option(
            "--anchor",
            metavar="RECORDS:HASH",
            help="What a server printed when it ended; may be repeated. It tells an end that was cut off.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Follow the chain of hashes from the first record to the last. Exit code 1 names the first line that does not follow."""
    from luthier.cli.output import show, show_json
    from luthier.cli.screen import Screen
    from luthier.floor.errors import GateError, UsageError
    from luthier.serve.audit.record import Anchor
    from luthier.serve.audit.verify import verify_audit

    try:
        known = [Anchor.parse(text) for text in anchors or ()]
    except ValueError as fault:
        fix = "Copy it as the server printed it."
        raise UsageError("usage", str(fault), where="--anchor", fix=fix) from fault
    report = verify_audit(file, anchors=known, listener=Screen())
    if as_json:
        show_json(report.model_dump(mode="json"))
        raise typer.Exit(0 if report.broken_line is None else GateError.exit_code)
    if report.broken_line is not None:
        raise GateError(
            "gate-audit",
            f"line {report.broken_line:,} {report.broken_why}"
            if report.broken_line
            else str(report.broken_why),
            where=f"{file}:{report.broken_line}",
            why=f"{report.records:,} records before it follow from each other.",
            fix="Compare the log with its copies.",
        )
    show(report_text(report))


def report_text(report: "AuditReport") -> str:
    """The log as it is, for people."""
    from luthier.floor.units import count_of

    events = ", ".join(f"{count:,} {event}" for event, count in report.events.items())
    lines = [
        f"whole    {count_of(report.records, 'record')} from {report.first_time} to {report.last_time}: {events}",
        f"anchor   {report.records}:{report.last_hash}",
    ]
    if report.cuts:
        lines.append(f"cut      {count_of(report.cuts, 'line')} where a server was killed, each noted")
    if not report.anchors:
        lines.append(
            "note     no anchor was there to tell whether its end was cut off: name one with --anchor"
        )
    return "\n".join(lines)
