"""Read rows again from their files, by where they came from: one pass over each file, whatever is wanted of it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from luthier.floor.errors import DataError, EnvironmentFault
from luthier.floor.stop import StopFlag
from luthier.text.problems import Problems
from luthier.text.readers.formats import read_records
from luthier.tokens.origin import file_of, split_origin

Fields = dict[str, Any]
# A file is gone through from its start: a minute for this much, and nobody waits longer for a table of roles.
MOST_BYTES = 2 * 2**30
LOOK_EVERY_ROWS = 4096


def read_fields(origins: Iterable[str], stop: StopFlag) -> dict[str, Fields]:
    """The fields of the rows at these origins, without those that are not there any more, or in a file too large to search."""
    wanted: dict[str, set[str]] = {}
    for origin in origins:
        place = split_origin(origin)
        if place is not None:
            wanted.setdefault(file_of(place[0]), set()).add(origin)
    found: dict[str, Fields] = {}
    for file, places in wanted.items():
        found |= _read_file(Path(file), places, stop)
    return found


def _read_file(path: Path, places: set[str], stop: StopFlag) -> dict[str, Fields]:
    found: dict[str, Fields] = {}
    try:
        if path.stat().st_size > MOST_BYTES:
            return found
        for number, (origin, fields) in enumerate(read_records(path, Problems())):
            if number % LOOK_EVERY_ROWS == 0:
                stop.check("the survey was interrupted; nothing was written", fix="Repeat the command.")
            if origin in places:
                found[origin] = dict(fields)
                if len(found) == len(places):
                    break
    except (DataError, EnvironmentFault, OSError):
        # The file went away, or the library that reads it: the page says so where it shows nothing.
        return found
    return found


def text_of(fields: Fields) -> str:
    """What a row says, field by field, as far as it is text."""
    parts: list[str] = []
    waiting: list[Any] = [value for name, value in fields.items() if name != "synth"][::-1]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            parts.append(value)
        elif isinstance(value, dict):
            waiting += list(value.values())[::-1]
        elif isinstance(value, list):
            waiting += value[::-1]
    return "\n".join(parts)
