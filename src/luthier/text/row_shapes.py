"""Turn the fields of a JSON object into a Row of one of the kinds of rows, whatever shape they have.

A fault names the field and what it holds. Fields that no shape uses are let pass; whoever reads counts them.
"""

from collections.abc import Mapping
from typing import Any

from luthier.text.problems import describe
from luthier.text.row import Message, Row, RowKind
from luthier.text.shapes import ROLES, guess_shape

__all__ = ["FIELDS", "ROLES", "Message", "Row", "RowKind", "describe", "guess_kind", "make_row"]

FIELDS: Mapping[RowKind, tuple[str, ...]] = {
    "prompt_completion": ("prompt", "completion"),
    "messages": ("messages",),
    "text": ("text",),
}


def guess_kind(fields: Mapping[str, Any]) -> RowKind:
    """The kind of row that a record makes. Raises LineFault (data-field) if it has no shape, or several."""
    return guess_shape(fields).kind


def make_row(fields: Mapping[str, Any], kind: RowKind, origin: str) -> Row:
    """The row of this kind in `fields`. Raises LineFault (data-field) if a field is missing or of another type."""
    return guess_shape(fields, kind).row(fields, origin)
