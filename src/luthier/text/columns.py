"""Make the fields of a row out of the columns that the recipe names. Nothing here judges what the columns hold."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from luthier.config.data import ColumnsConfig
from luthier.floor.lookup import did_you_mean
from luthier.text.problems import LineFault
from luthier.text.row_shapes import FIELDS, RowKind, describe

BETWEEN = "\n\n"
# How a column of a table without a header is named, counted from 1; Polars names them so.
POSITION = re.compile(r"column_[1-9]\d{0,3}")


@dataclass(frozen=True)
class Columns:
    """Of each field of a row, the columns that it is made of: the first must be there, further ones follow where they say something."""

    of_field: Mapping[str, tuple[str, ...]]
    kind: RowKind

    @property
    def used(self) -> frozenset[str]:
        """Every column that is read."""
        return frozenset(name for names in self.of_field.values() for name in names)

    @property
    def are_positions(self) -> bool:
        """Whether they name places in a table without a header."""
        return all(map(POSITION.fullmatch, self.used))

    def are_in(self, fields: Mapping[str, Any]) -> bool:
        """Whether a record has every column that must be there."""
        return all(names[0] in fields for names in self.of_field.values())

    def pick(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of the row. Raises LineFault (data-field) if a column is not there, or one of several holds no text."""
        return {field: _join(fields, names) for field, names in self.of_field.items()}


def named_columns(config: ColumnsConfig) -> Columns | None:
    """The columns that a recipe names; None if it names none."""
    of_field = {
        "prompt": config.prompt,
        "completion": config.completion,
        "messages": config.messages,
        "text": config.text,
    }
    given = {field: names for field, names in of_field.items() if names}
    kind = next((kind for kind, names in FIELDS.items() if set(names) == given.keys()), None)
    return Columns(given, kind) if kind else None


def _join(fields: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    first, *others = names
    if first not in fields:
        has = ", ".join(str(name)[:40] for name in list(fields)[:8])
        hint = did_you_mean(first, fields)
        raise LineFault("data-field", f"lacks the column {first!r}; it has: {has}{hint}")
    value = _as_text(fields[first])
    said = [(name, _as_text(fields[name])) for name in others if fields.get(name) not in (None, "")]
    if not said:
        return value
    for name, text in [(first, value), *said]:
        if not isinstance(text, str):
            raise LineFault("data-field", f"{name!r} is {describe(text)}, not text")
    return BETWEEN.join(text for text in (value, *(text for _, text in said)) if text.strip())


def _as_text(value: Any) -> Any:
    """A number as Python writes it, since tables hold labels and sums as numbers; anything else as it is."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return str(value) if is_number else value
