"""A stretch of a text that was recognised, and the masking of many of them.

Masking is repeated until nothing is found any more: what stands beside a mask may be recognised only once its neighbour is gone.
A text that is made so that this takes for ever is masked as a whole.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """Characters `start` to `end` (excluded) are of this kind."""

    kind: str
    start: int
    end: int


# Two passes are enough for any text that people write; each takes time that grows with the text.
MOST_PASSES = 16

Find = Callable[[str], list[Span]]


def drop_overlaps(spans: Iterable[Span]) -> list[Span]:
    """The spans in order, none inside or across another; of two that start together the longer one stays."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        if not kept or span.start >= kept[-1].end:
            kept.append(span)
    return kept


def mask(text: str, find: Find) -> str:
    """The text with `[EMAIL]` and the like in place of everything that `find` finds, until it finds nothing."""
    for _ in range(MOST_PASSES):
        spans = find(text)
        if not spans:
            return text
        text = _replace(text, spans)
    spans = find(text)
    return _label(spans[0]) if spans else text


def _replace(text: str, spans: list[Span]) -> str:
    parts: list[str] = []
    done = 0
    for span in spans:
        parts += [text[done : span.start], _label(span)]
        done = span.end
    return "".join([*parts, text[done:]])


def _label(span: Span) -> str:
    return f"[{span.kind.upper()}]"
