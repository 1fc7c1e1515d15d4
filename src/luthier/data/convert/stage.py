"""Convert what people bring (an export, rows of another tool's dialect) to rows that `luthier prepare` reads.

One record is in memory at a time. Every conversation, thread and message is entered into the books, and nothing is fetched:
links, pictures and file names in the data are text.
"""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.data.convert.books import ConversionBooks
from luthier.data.convert.dialects import Dialect, check_fits, unread_fields
from luthier.data.convert.inputs import as_text, find_inputs
from luthier.data.convert.intake import Event, find_dialect, pick_columns, read_events
from luthier.data.convert.settle import Form, row_line, settle
from luthier.data.convert.writer import RowWriter, check_output, default_output, report_path
from luthier.floor.errors import DataError, UsageError
from luthier.floor.log import Listener, Silent
from luthier.floor.stop import StopFlag
from luthier.floor.units import count_of
from luthier.reports.convert import ConvertReport
from luthier.reports.provenance import gather_provenance
from luthier.text.columns import Columns
from luthier.text.dialects.turns import Choices, Reading
from luthier.text.problems import LineFault, Problems

SAMPLE_ROWS = 3
MOST_NOTES = 40
SEEN_BEFORE = "its id was seen before"
FAULTY = "faulty"
INTERRUPTED = "the conversion was interrupted; nothing of it was kept"


@dataclass(frozen=True)
class Request:
    """What a person asked for. None leaves the choice to what the source is."""

    source: Path
    output: Path | None = None
    dialect: str | None = None
    columns: Columns | None = None
    """Which columns make a record, of rows that have other names."""
    form: Form | None = None
    choices: Choices = field(default_factory=Choices)
    skip_faulty: bool = False
    overwrite: bool = False
    is_dry: bool = False


@dataclass
class _Work:
    """A conversion on its way."""

    request: Request
    dialect: Dialect
    form: Form
    stop: StopFlag
    books: ConversionBooks = field(default_factory=ConversionBooks)
    problems: Problems = field(default_factory=Problems)
    sample: list[dict[str, Any]] = field(default_factory=list)
    seen: set[bytes] = field(default_factory=set)


def convert(
    request: Request, *, listener: Listener | None = None, stop: StopFlag | None = None
) -> ConvertReport:
    """Write the rows and, beside them, the report; a dry run writes nothing.

    Raises DataError naming every record that cannot be used, or that no row came of any; UsageError for a file in the way.
    """
    listener, started = listener or Silent(), time.perf_counter()
    inputs = find_inputs(request.source)
    output = request.output or default_output(request.source)
    if not request.is_dry:
        check_output(output, inputs, overwrite=request.overwrite)
    left_out: Counter[str] = Counter()
    every = read_events(inputs, listener, by_position=bool(request.columns and request.columns.are_positions))
    if request.columns:
        every = pick_columns(every, request.columns, left_out)
    dialect, events = find_dialect(every, request.dialect, request.source)
    work = _Work(request, dialect, _form_of(dialect, request), stop or StopFlag())
    _check_choices(dialect, request.choices)
    listener.say(f"reading {request.source} as {dialect.name} ({dialect.looks})")
    with RowWriter(None if request.is_dry else output) as writer:
        for row in _rows(work, events):
            writer.write(row_line(row))
        work.problems.raise_if_any()
        if not work.books.threads.kept:
            raise _nothing_came(request.source, work.books)
        output_sha256 = writer.finish()
    work.books.notes.update({_not_in_a_row(name): rows for name, rows in left_out.items()})
    report = _report(work, inputs.files, output, output_sha256, time.perf_counter() - started)
    return report if request.is_dry else report.write(report_path(output))


def _rows(work: _Work, events: Iterator[Event]) -> Iterator[dict[str, Any]]:
    """The rows of all records; none any more once a record was refused, though every record is still judged."""
    records = _records(work, events)
    gathered = work.dialect.gather(records) if work.dialect.gather else records
    for origin, record in gathered:
        work.stop.check(INTERRUPTED, fix="Repeat the command.")
        try:
            if not work.dialect.identity:  # an export's records are judged where they are read
                check_fits(record, work.dialect)
            reading = work.dialect.read(record, work.request.choices)
        except LineFault as fault:
            _refuse(work, origin, fault)
            continue
        _note_unread(work, record)
        rows = settle(_unless_seen(work, record, reading), work.form, work.books)
        work.sample += rows[: SAMPLE_ROWS - len(work.sample)]
        if not work.problems.count:
            yield from rows


def _note_unread(work: _Work, record: dict[str, Any]) -> None:
    """Count the fields that no row has; of hostile records, which may each have others, the first names only."""
    for name in unread_fields(record, work.dialect):
        note = _not_in_a_row(name)
        if note in work.books.notes or len(work.books.notes) < MOST_NOTES:
            work.books.notes[note] += 1


def _not_in_a_row(name: str) -> str:
    return f"{name[:40]!r} is a field that no row has"


def _records(work: _Work, events: Iterator[Event]) -> Iterator[tuple[str, dict[str, Any]]]:
    for origin, found in events:
        if isinstance(found, LineFault):
            _refuse(work, origin, found)
        else:
            yield origin, found


def _refuse(work: _Work, origin: str, fault: LineFault) -> None:
    """List a fault; or count it, in an export (nobody can mend one) or where that was asked for."""
    if work.request.skip_faulty or work.dialect.identity:
        work.books.conversations.came_in += 1
        work.books.conversations.dropped[f"{FAULTY}: {fault.code}"] += 1
    else:
        work.problems.add(origin, fault)


def _unless_seen(work: _Work, record: dict[str, Any], reading: Reading) -> Reading:
    """The reading, or an empty one if a conversation with this id came before."""
    name = work.dialect.identity(record) if work.dialect.identity else None
    if name is None:
        return reading
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    if digest in work.seen:
        return Reading(messages=reading.messages, reason=SEEN_BEFORE)
    work.seen.add(digest)
    return reading


def _form_of(dialect: Dialect, request: Request) -> Form:
    if request.form is not None and dialect.form == "text":
        what = f"rows of text hold no turns, so they cannot become {request.form}"
        raise UsageError("usage", what, where="--to", fix="Leave --to out.")
    return request.form or dialect.form


def _check_choices(dialect: Dialect, choices: Choices) -> None:
    """Raise UsageError for a choice that would change nothing."""
    usual = Choices()
    for name in ("branches", "tools", "keep"):
        if getattr(choices, name) != getattr(usual, name) and name not in dialect.takes:
            what = f"--{name} means nothing for {dialect.name}: it has no such thing"
            raise UsageError("usage", what, where=f"--{name}", fix=f"Leave --{name} out.")


def _nothing_came(source: Path, books: ConversionBooks) -> DataError:
    ledgers = (("conversation", books.conversations), ("message", books.messages))
    listed = [f"{count:,} {name}: {why}" for name, ledger in ledgers for why, count in ledger.dropped.items()]
    return DataError(
        "data-empty",
        f"no row came of {count_of(books.conversations.came_in, 'conversation')}",
        where=str(source),
        problems=listed[:20],
        fix="Choose what is kept: luthier data convert --help",
    )


def _report(
    work: _Work, files: dict[str, str], output: Path, output_sha256: str | None, seconds: float
) -> ConvertReport:
    choices, books = work.request.choices, work.books
    options = {
        "branches": choices.branches,
        "tools": choices.tools,
        "keep": sorted(choices.keep),
        "skip_faulty": work.request.skip_faulty,
        "columns": {field: list(names) for field, names in work.request.columns.of_field.items()}
        if work.request.columns
        else {},
    }
    inputs = json.dumps([sorted(files.values()), options, work.dialect.name, work.form])
    return ConvertReport(
        inputs_hash=hashlib.sha256(inputs.encode()).hexdigest(),
        seconds=seconds,
        provenance=gather_provenance(),
        source=as_text(work.request.source),
        files=files,
        dialect=work.dialect.name,
        format=work.form,
        options=options,
        output=as_text(output),
        output_sha256=output_sha256,
        rows=books.threads.kept,
        conversations=books.conversations.close("conversations"),
        threads=books.threads.close("threads"),
        messages=books.messages.close("messages"),
        notes={note: count for note, count in books.notes.most_common() if count},
        sample=work.sample if work.request.is_dry else [],
    )
