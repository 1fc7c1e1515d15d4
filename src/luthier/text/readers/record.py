"""What a reader of files hands out: records with their places, and faults with theirs.

A reader yields the fields of one record at a time and never more than a bounded part of its file. A record that cannot be
read is a fault in `problems`, and the rest is still read where the format allows it.
"""

import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from luthier.floor.errors import EnvironmentFault
from luthier.text.problems import Problems

Fields = dict[str, Any]
# The origin of a record, `file:line` or `file#row N`, and its fields.
Record = tuple[str, Fields]
Reader = Callable[[Path, Problems], Iterator[Record]]

INSTALL_FORMATS = 'Install it: pip install "luthier[formats]"'
INSTALL_DOCUMENTS = 'Install it: pip install "luthier[documents]"'


def row_origin(path: Path, number: int) -> str:
    """The place of the `number`-th record of a file that has no lines, counted from 1."""
    return f"{path}#row {number}"


def split_origin(origin: str, path: Path) -> tuple[str, int]:
    """What stands between the file and the number of a record in its origin, and that number: `:` and 17, or `#row ` and 17."""
    marker, number = re.fullmatch(r"(:|#row )(\d+)", origin.removeprefix(str(path))).groups()  # type: ignore[union-attr]
    return marker, int(number)


def as_json_line(fields: Fields) -> bytes:
    """A record as a line of JSON: what JSON has no form for (a date, bytes, not a number) becomes text, or null."""
    try:
        text = json.dumps(fields, ensure_ascii=False, default=str, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(fields), ensure_ascii=False, default=str)
    return text.encode("utf-8", "replace") + b"\n"


def _finite(value: Any) -> Any:
    """The same with null in the place of figures that are not finite, which no JSON parser should take."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, (list, tuple)) else value


def missing_library(path: Path, library: str, fix: str) -> EnvironmentFault:
    """The fault of a file that needs an optional library which is not there."""
    return EnvironmentFault(
        "env-extra", f"reading {path.name} needs the library {library}", where=str(path), fix=fix
    )
