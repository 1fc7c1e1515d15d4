"""Markdown of tables, code and links, safe with whatever names and texts a run holds."""

import re
from collections.abc import Sequence

_SPECIAL = re.compile(r"[\\`*_<>\[\]|~]")


def plain(text: str) -> str:
    """Text that is shown as it is: no mark-up, no line break."""
    return _SPECIAL.sub(lambda match: "\\" + match[0], " ".join(text.split()))


def code(text: str) -> str:
    """Text as code; a bar inside a table would end the cell."""
    inner = " ".join(text.split()).replace("|", "\\|")
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", inner)), default=0))
    pad = " " if inner.startswith("`") or inner.endswith("`") else ""
    return f"{ticks}{pad}{inner}{pad}{ticks}"


def link(text: str, address: str) -> str:
    """A link with a text of any kind."""
    return f"[{plain(text)}]({address})"


def fenced(text: str) -> list[str]:
    """A block of text as it is, whatever ticks are in it."""
    ticks = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return [f"{ticks}text", *text.split("\n"), ticks]


def table(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> list[str]:
    """Rows of cells that are Markdown already; the first is the head, columns in `right` end flush."""
    marks = ["---:" if column in right else "---" for column in range(len(rows[0]))]
    return [_line(rows[0]), _line(marks), *(_line(row) for row in rows[1:])]


def facts_table(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Two columns without a head: what, and how much."""
    return ["| | |", "| --- | --- |", *(_line((f"**{name}**", value)) for name, value in rows)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
