"""What a reader of files hands out: records with their places, and faults with theirs.

A reader yields the fields of one record at a time and never more than a bounded part of its file. A record that cannot be
read is a fault in `problems`, and the rest is still read where the format allows it.
"""

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


def missing_library(path: Path, library: str, fix: str) -> EnvironmentFault:
    """The fault of a file that needs an optional library which is not there."""
    return EnvironmentFault(
        "env-extra", f"reading {path.name} needs the library {library}", where=str(path), fix=fix
    )
