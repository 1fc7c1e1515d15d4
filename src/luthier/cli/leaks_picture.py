"""Draw two texts side by side with the words that both have marked."""

import re
from itertools import groupby, zip_longest
from typing import TYPE_CHECKING

from luthier.cli.paint import choose_signs, spelt, spelt_name

if TYPE_CHECKING:
    from luthier.reports.leaks import LeakPair

WIDTH, MOST_LINES = 56, 10
SHARED = "\x1b[1;33m"  # bold yellow
WORD = re.compile(r"\S+")

Pieces = list[tuple[str, str]]
Line = list[tuple[str, bool]]
"""Words of a line, and whether both texts have them."""


def pair_pieces(pair: "LeakPair", *, has_colour: bool) -> Pieces:
    """A heading, then both texts; shared words in colour, or between signs that neither text holds."""
    from luthier.data.leaks.picture import shared_words

    left, right = spelt(pair.text), spelt(pair.against_text)
    signs = ("", "") if has_colour else choose_signs([left, right])
    columns = [
        wrapped(text, places, signs)
        for text, places in zip((left, right), shared_words(left, right), strict=True)
    ]
    pieces: Pieces = [(heading(pair), "")]
    pieces.append((f"\n{spelt_name(pair.row)[-WIDTH:]:<{WIDTH}} | {spelt_name(pair.against)}", ""))
    for one, two in zip_longest(*columns, fillvalue=Line()):
        pieces += [("\n", ""), *line_pieces(one, signs), (" " * (WIDTH - length(one, signs)) + " | ", "")]
        pieces += line_pieces(two, signs)
    return pieces


def heading(pair: "LeakPair") -> str:
    """`near, Jaccard 0.857`"""
    measures = {"near": f", Jaccard {pair.jaccard or 0:.3f}", "run": f", {pair.run_words} words in a row"}
    return f"{pair.kind}{measures.get(pair.kind, '')}"


def wrapped(text: str, places: list[tuple[int, int]], signs: tuple[str, str]) -> list[Line]:
    """The words of a text in lines of WIDTH at most, the rest cut."""
    lines: list[Line] = [[]]
    for found in WORD.finditer(text):
        is_shared = any(start < found.end() and end > found.start() for start, end in places)
        for start in range(0, len(found[0]), WIDTH // 2):
            word = (found[0][start : start + WIDTH // 2], is_shared)
            if length([*lines[-1], word], signs) > WIDTH and lines[-1]:
                lines.append([])
            lines[-1].append(word)
    return [*lines[:MOST_LINES], [("...", False)]] if len(lines) > MOST_LINES else lines


def line_pieces(line: Line, signs: tuple[str, str]) -> Pieces:
    """Runs of shared and of other words, blanks between them."""
    pieces: Pieces = []
    for is_shared, words in groupby(line, key=lambda word: word[1]):
        text = " ".join(word for word, _ in words)
        pieces += [(" ", "")] if pieces else []
        pieces.append(
            (
                f"{signs[0]}{text}{signs[1]}" if is_shared else text,
                SHARED if is_shared and not signs[0] else "",
            )
        )
    return pieces


def length(line: Line, signs: tuple[str, str]) -> int:
    """How wide a line is with its signs."""
    return sum(len(text) for text, _ in line_pieces(line, signs))
