"""Read what benchmark suites ask, whatever form they have: rows of the known shapes, or fields that suites use.

A suite is only compared with, so that a record of it which cannot be read is counted and passed over.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from luthier.data.leaks.words import question_of
from luthier.floor.errors import DataError
from luthier.floor.log import Listener
from luthier.floor.units import count_of
from luthier.text.json_lines import LONGEST_LINE_BYTES, parse_object
from luthier.text.problems import LineFault, Problems
from luthier.text.readers.endings import ENDINGS
from luthier.text.readers.formats import read_records
from luthier.text.readers.record import Record
from luthier.text.row_files import find_row_files
from luthier.text.rows import Row
from luthier.text.shapes import guess_shape

# In the order in which they are asked for; a suite that has several asks by the first.
ASKING = (
    "question",
    "query",
    "goal",
    "sentence",
    "instruction",
    "input",
    "premise",
    "ctx",
    "prompt",
    "context",
    "text",
)
DEEPEST = 4  # SQuAD: data, paragraphs, qas


def suite_files(paths: Sequence[str | Path], *, by_recipe: bool) -> list[Path]:
    """The files named, and of a folder all whose name ends as rows do; raises DataError if one is not there."""
    found: list[Path] = []
    for name in paths:
        found += find_row_files(Path(name), by_recipe=by_recipe)
    return list(dict.fromkeys(found))


def read_suites(files: Sequence[Path], listener: Listener) -> Iterator[Row]:
    """A row of text for every question. Raises DataError (data-empty) if no file asks anything."""
    asked = 0
    for file in files:
        problems = Problems()
        for origin, fields in _records(file, problems):
            for question in questions_in(fields, origin):
                asked += 1
                yield Row("text", origin, text=question)
        if problems.count:
            listener.warn(
                f"{file}: {count_of(problems.count, 'record')} cannot be read; nothing was compared with them"
            )
    if not asked:
        raise DataError("data-empty", f"there is no question in {', '.join(map(str, files[:5]))}")


def _records(file: Path, problems: Problems) -> Iterator[Record]:
    """The records of a file, or the one object that it is, as SQuAD's files are."""
    if ENDINGS.get(file.suffix.lower()) == "json" and file.stat().st_size <= LONGEST_LINE_BYTES:
        try:
            yield f"{file}:1", parse_object(file.read_bytes(), is_ended=True, path=file)
            return
        except LineFault:
            pass  # an array, objects one after the other, or broken: the reader knows and tells
    yield from read_records(file, problems)


def questions_in(fields: dict[str, Any], origin: str, depth: int = 0) -> Iterator[str]:
    """What a record asks: by its shape, by the field that asks, and in the lists of objects that it holds."""
    if depth == 0 and (question := _by_shape(fields, origin)):
        yield question
        return
    named = {name.lower(): value for name, value in fields.items() if isinstance(name, str)}
    for name in ASKING:
        if isinstance(value := named.get(name), str) and value.strip():
            yield value
            break
    for value in fields.values() if depth < DEEPEST else ():
        for part in value if isinstance(value, list) else ():
            if isinstance(part, dict):
                yield from questions_in(part, origin, depth + 1)


def _by_shape(fields: dict[str, Any], origin: str) -> str:
    try:
        return question_of(guess_shape(fields, None).row(fields, origin)).strip()
    except LineFault:
        return ""
