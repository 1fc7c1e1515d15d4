"""Ask the reader that training uses. What it refuses is a fault, whatever else the checks think of the row."""

from collections.abc import Mapping
from typing import Any

from luthier.data.check.kinds import Fault
from luthier.text.problems import LineFault
from luthier.text.rows import Row
from luthier.text.shapes import guess_shape


def read_row(fields: Mapping[str, Any], origin: str) -> Row | Fault:
    """The row that training would learn, or why it would refuse the file for it."""
    try:
        return guess_shape(fields).row(fields, origin)
    except LineFault as fault:
        return Fault("refused", fault.what, fault.fix)
