"""Take away white space that says nothing, outside code.

`trim` ends every line with one LF, takes spaces and tabs from line ends and around the text, and keeps two empty lines in a row at
most. `collapse` also makes a run of spaces and tabs inside a line one space, but for `code spans` and the indentation.
"""

import re
from typing import Literal

from luthier.data.clean.code_blocks import BLANKS, mark_code, split_lines
from luthier.data.clean.filter import TextEdit

MOST_EMPTY_LINES = 2  # in a row: PEP 8 and most prose use one or two to set parts apart
# Without any of these and without a space at an end there is nothing to do; most short texts have none.
_SIGNS = ("\n", "\t", "\r", "  ")
_RUN = re.compile(r"[ \t]+")
_TICKS = re.compile(r"`+")
_INDENT = re.compile(r"[ \t]*")


def white_space_filter(how: Literal["trim", "collapse"]) -> TextEdit:
    """The filter `white_space`."""
    return TextEdit("white_space", trim if how == "trim" else collapse)


def trim(text: str) -> str:
    """The text without white space at line ends and around it."""
    return _rewrite(text, collapses=False) if _needs_a_look(text) else text


def collapse(text: str) -> str:
    """The same, and runs of spaces and tabs in a line are one space."""
    return _rewrite(text, collapses=True) if _needs_a_look(text) else text


def _needs_a_look(text: str) -> bool:
    return any(sign in text for sign in _SIGNS) or text.startswith(" ") or text.endswith(" ")


def _rewrite(text: str, *, collapses: bool) -> str:
    kept: list[str] = []
    empty = 0
    starts_with_code = ends_with_code = False
    for line, is_code in mark_code(split_lines(text)):
        body = line if is_code else line.rstrip(BLANKS)
        if not body:
            empty += 1
            continue
        starts_with_code = is_code if not kept else starts_with_code
        kept += ["\n"] * (min(empty, MOST_EMPTY_LINES) if kept else 0)
        kept.append(body if is_code else (_collapse_runs(body) if collapses else body) + "\n")
        empty, ends_with_code = 0, is_code
    result = "".join(kept)
    result = result if ends_with_code else result[:-1]
    return result if starts_with_code else result.lstrip(" \t")


def _collapse_runs(line: str) -> str:
    indent = _INDENT.match(line)
    done = indent.end() if indent else 0
    parts = [line[:done]]
    for start, end in _code_spans(line):
        if start >= done:
            parts += [_RUN.sub(" ", line[done:start]), line[start:end]]
            done = end
    return "".join([*parts, _RUN.sub(" ", line[done:])])


def _code_spans(line: str) -> list[tuple[int, int]]:
    """Where a run of backticks finds the next one of its length (CommonMark 6.1); spans may overlap, the first counts.

    Looked up from the end, so that a line of nothing but backticks takes no longer than another.
    """
    spans: list[tuple[int, int]] = []
    next_end: dict[int, int] = {}
    for run in reversed(list(_TICKS.finditer(line))):
        ticks = run.end() - run.start()
        if ticks in next_end:
            spans.append((run.start(), next_end[ticks]))
        next_end[ticks] = run.end()
    return spans[::-1]
