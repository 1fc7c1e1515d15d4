"""The sources of a mixture as a table: what each gave, how much of it is seen, and its share of the tokens."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luthier.reports.data import SourceCounts

HEADS = ("source", "weight", "read", "not drawn", "repeated", "in training", "tokens", "share")
WIDEST_NAME = 40


def source_lines(sources: Mapping[str, "SourceCounts"]) -> list[str]:
    """A line a source below their heads; nothing for a single source that is seen once, of which the other books tell all."""
    if len(sources) < 2 and all(counts.weight == 1 for counts in sources.values()):
        return []
    rows = [HEADS, *(_cells(name, counts) for name, counts in sources.items())]
    widths = [max(len(row[at]) for row in rows) for at in range(len(HEADS))]
    return [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in rows
    ]


def _cells(name: str, counts: "SourceCounts") -> tuple[str, ...]:
    shown = name if len(name) <= WIDEST_NAME else f"...{name[3 - WIDEST_NAME :]}"
    numbers = (
        counts.rows_in,
        counts.rows_not_drawn,
        counts.rows_repeated,
        counts.train_rows,
    )
    tokens = (
        ("later", "")
        if counts.token_share is None
        else (f"{counts.train_tokens:,}", f"{counts.token_share:.1%}")
    )
    return (shown, f"{counts.weight:g}", *(f"{number:,}" for number in numbers), *tokens)
