"""Conversations to hold templates against: real rows of every dialect, from the shared data or from the samples kept here."""

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from luthier.data.convert.stage import Request, convert
from luthier.floor.errors import DataError
from luthier.text.chat import as_messages
from luthier.text.dialects.turns import Choices
from luthier.text.problems import LineFault, Problems
from luthier.text.readers.formats import read_records
from luthier.text.render import Renderer
from luthier.text.row import Row
from luthier.text.rows import read_rows
from luthier.text.shapes import guess_shape

SHARED = Path(__file__).parents[3] / "shared" / "data"
SAMPLES = Path(__file__).parents[1] / "data" / "convert" / "formats"
# What a recipe reads as it is; every record by its own shape.
READ = (
    "formats/*.json*",
    "gsm8k/*.jsonl",
    "gpteacher/roleplay*.xz",
    "gpteacher/toolformer-dedupe*.xz",
    "self-instruct/*.jsonl",
    "opentriviaqa/*.xz",
    "demo-*/*.jsonl",
)
CONVERTED = (
    "formats/chatgpt_export_*.json",
    "formats/mt_bench_question.jsonl",
    "oasst-sample/*.jsonl",
    "self-instruct/seed_tasks.jsonl",
)
TABLES = ("flan-cot/*.tsv",)


def shared_rows(scratch: Path, *, most_rows_a_file: int | None = None) -> Iterator[tuple[str, Row]]:
    """File and row of all chat material in the shared data; files of `scratch` hold what has to be converted first."""
    sources: tuple[tuple[tuple[str, ...], Callable[[Path], Iterator[Row]]], ...] = (
        (READ, recorded_rows),
        (CONVERTED, lambda path: converted_rows(path, scratch)),
        (TABLES, _table_rows),
    )
    for patterns, read in sources:
        for path in sorted(path for pattern in patterns for path in SHARED.glob(pattern)):
            for row in islice(read(path), most_rows_a_file):
                yield str(path.relative_to(SHARED)), row


def sample_rows() -> Iterator[Row]:
    """The rows of the samples that are kept with the tests."""
    for path in sorted(SAMPLES.glob("*.json*")):
        yield from recorded_rows(path)


def recorded_rows(path: Path) -> Iterator[Row]:
    """Every record of a file that has a shape, by that shape."""
    for origin, fields in read_records(path, Problems(), file_format="auto"):
        try:
            row = guess_shape(fields).row(fields, origin)
        except LineFault:
            continue
        if row.kind in ("messages", "prompt_completion") and any(m.is_learnt for m in as_messages(row)):
            yield row


def converted_rows(path: Path, scratch: Path) -> Iterator[Row]:
    """All branches of all conversations, tools as text."""
    out = scratch / f"{path.parent.name}-{path.name}.jsonl"
    wishes = {"openassistant": Choices(branches="all"), "export": Choices(branches="all", tools="text")}
    kind = "export" if "chatgpt" in path.name else "openassistant" if "oasst" in str(path) else ""
    convert(Request(path, out, form="messages", choices=wishes.get(kind, Choices()), overwrite=True))
    yield from read_rows([out], "messages")


def _table_rows(path: Path) -> Iterator[Row]:
    """Question, answer and reason, without a header."""
    with open(path, encoding="utf-8", newline="") as file:
        for number, (asked, *said) in enumerate(
            csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE), start=1
        ):
            yield Row("prompt_completion", f"{path}:{number}", asked, "\n".join(said))


def verdicts(renderer: Renderer, rows: Iterable[Row]) -> Counter[str]:
    """How many rows are rendered, and how many are refused: by the template, or because their masks disagree."""
    counts: Counter[str] = Counter()
    waiting = iter(rows)
    while block := list(islice(waiting, 512)):
        try:
            renderer.render_block(block)
            counts["rendered"] += len(block)
        except DataError:
            for row in block:
                counts[_verdict(renderer, row)] += 1
    return counts


def _verdict(renderer: Renderer, row: Row) -> str:
    try:
        renderer.render(row)
    except DataError as fault:
        return f"{fault.code}: {fault.what}"
    return "rendered"
