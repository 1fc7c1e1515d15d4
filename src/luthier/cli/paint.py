r"""Show which part of a text is meant: in colour where a terminal has it, else between signs that the text does not hold.

What a text says can never pass for a colour or a sign: control, format and bidirectional characters are spelt out (`\x1b`,
`\u202e`), and the signs are chosen after looking at the text.
"""

import os
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TextIO

from luthier.cli.output import visible

SIGNS = (("[[", "]]"), ("<<", ">>"), ("{{", "}}"), ("((", "))"))


@dataclass(frozen=True)
class Part:
    """A stretch of text, and whether it is the one to mark."""

    text: str
    is_marked: bool = False


def has_colour(stream: TextIO | None = None) -> bool:
    """Whether colours may be sent: to a terminal that has them, unless NO_COLOR is set (no-color.org)."""
    stream = stream or sys.stdout
    return stream.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("NO_COLOR")


def choose_signs(texts: Iterable[str]) -> tuple[str, str]:
    """Two signs between which text can stand: no text holds a character of them, or, at worst, their number."""
    joined = "\n".join(texts)
    for opening, closing in SIGNS:
        if opening[0] not in joined and closing[0] not in joined:
            return opening, closing
    number = 1
    while f"#{number}" in joined:
        number += 1
    return f"[#{number}[", f"]#{number}]"


def spelt(text: str) -> str:
    """Text with everything spelt out that a terminal obeys instead of showing; line ends stay."""
    return "".join(
        sign if sign in "\n\t" or unicodedata.category(sign) not in ("Cf", "Zl", "Zp") else _code(sign)
        for sign in visible(text)
    )


def spelt_in_line(text: str) -> str:
    r"""The same for one line: line ends and tabs are spelt out too, and a backslash is doubled, so that nothing looks alike."""
    doubled = text.replace("\\", "\\\\")
    return spelt(doubled).replace("\n", "\\n").replace("\t", "\\t")


def spelt_name(name: str) -> str:
    """A file's name for a line of its own: the same, and a line end in it is spelt out."""
    return spelt(name).replace("\n", "\\n")


def between_signs(parts: Sequence[Part], signs: tuple[str, str]) -> str:
    """The parts as text, each marked one between the signs."""
    return "".join(f"{signs[0]}{part.text}{signs[1]}" if part.is_marked else part.text for part in parts)


def _code(sign: str) -> str:
    return sign.encode("unicode_escape").decode("ascii")
