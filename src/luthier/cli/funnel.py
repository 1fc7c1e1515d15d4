"""The ledger of prepared data as a table: a line a stage, with what it took in, kept and left out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luthier.reports.ledger import StageBooks

HEAD = ("stage", "rows in", "kept", "tokens in", "kept", "trained", "left out")
MOST_REASONS = 3


def funnel_lines(ledger: "Sequence[StageBooks]") -> list[str]:
    """The table; numbers to the right, reasons in words at the end of a line."""
    table = [HEAD, *(_cells(books) for books in ledger)]
    widths = [max(len(row[column]) for row in table) for column in range(len(HEAD))]
    lines = []
    for row in table:
        first, *numbers = row[:-1]
        cells = [f"{first:<{widths[0]}}"]
        cells += [f"{cell:>{width}}" for cell, width in zip(numbers, widths[1:-1], strict=True)]
        lines.append("  ".join([*cells, row[-1]]).rstrip())
    return lines


def _cells(books: "StageBooks") -> tuple[str, ...]:
    from luthier.floor.units import format_bytes

    tokens, trained = books.tokens, books.trained_tokens
    return (
        books.name if books.bytes is None else f"{books.name} ({format_bytes(books.bytes)})",
        f"{books.rows.came_in:,}",
        f"{books.rows.kept:,}",
        f"{tokens.came_in:,}" if tokens else "",
        f"{tokens.kept:,}" if tokens else "",
        f"{trained.kept:,}" if trained else "",
        _left_out(books),
    )


def _left_out(books: "StageBooks") -> str:
    """`12 rows: empty completion; 340 tokens: beyond max_length`"""
    told = []
    if books.rows.dropped:
        told.append(f"{counted(books.rows.left_out, 'row')}: {_reasons(books.rows.dropped)}")
    if books.tokens and books.tokens.left_out:
        told.append(f"{counted(books.tokens.left_out, 'token')}: {_reasons(books.tokens.dropped)}")
    elif books.trained_tokens and books.trained_tokens.left_out:
        told.append(f"{books.trained_tokens.left_out:,} trained: {_reasons(books.trained_tokens.dropped)}")
    if books.rows.added:
        told.append(f"{counted(books.rows.added, 'row')} added")
    return "; ".join(told)


def counted(number: int, what: str) -> str:
    """`1 row`, `2,000 rows`"""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _reasons(dropped: dict[str, int]) -> str:
    """The reasons, the most frequent first; with their counts if there are several."""
    if len(dropped) == 1:
        return next(iter(dropped))
    ordered = sorted(dropped.items(), key=lambda item: -item[1])
    told = [f"{reason} {count:,}" for reason, count in ordered[:MOST_REASONS]]
    return ", ".join(told) + (", ..." if len(ordered) > MOST_REASONS else "")
