"""Tell the lines of code of a text from its prose, so that white space is never touched where it means something.

By CommonMark 0.31 (4.4 and 4.5), a little wider: every line indented by four columns counts, also inside a paragraph or a list,
since a poem or a nested list wants its indentation too.
"""

import re
from collections.abc import Iterator

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)", re.DOTALL)
_INDENTED = re.compile(r" {0,3}\t| {4}")
BLANKS = " \t\r\n"


def split_lines(text: str) -> list[str]:
    """The lines with their ends; LF and CR LF end a line, and nothing else does."""
    return _LINE.findall(text)


def mark_code(lines: list[str]) -> Iterator[tuple[str, bool]]:
    """Each line, and whether it is code: fenced, its fences too, or indented; empty lines inside indented code count as code.

    A fence that is never closed holds the rest of the text.
    """
    fence = ""
    waiting: list[str] = []
    is_inside_indented = False
    for line in lines:
        if not fence and not line.strip(BLANKS):
            waiting.append(line)
            continue
        is_indented = not fence and bool(_INDENTED.match(line))
        yield from ((blank, is_inside_indented and is_indented) for blank in waiting)
        waiting.clear()
        is_inside_indented = is_indented
        if is_indented:
            yield line, True
            continue
        found = _FENCE.match(line)
        if fence:
            closes = found and found[1].startswith(fence) and not found[2].strip(BLANKS)
            fence = "" if closes else fence
            yield line, True
        elif found and not (found[1][0] == "`" and "`" in found[2]):
            fence = found[1]
            yield line, True
        else:
            yield line, False
    yield from ((blank, False) for blank in waiting)
