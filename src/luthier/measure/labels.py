"""Accuracy, where the rows are a classification.

The rule, by the expected texts alone: at least two different labels, at most 200, each row's label of at most 8 words and 80
characters on one line, and at least twice as many rows as labels. Records (slots.py) are never labels. Banking77, with 77
intents, is the largest label set that we ship recipes for; 200 leaves room.
"""

from collections.abc import Sequence

from luthier.measure.overlap import fold

MOST_LABELS = 200
MOST_WORDS = 8
MOST_CHARACTERS = 80
ROWS_PER_LABEL = 2
QUOTES = "\"'`"


def find_labels(expected: Sequence[str]) -> frozenset[str] | None:
    """The closed set of labels, folded, or None if the rows are no classification."""
    labels = {fold(text) for text in expected}
    if not 2 <= len(labels) <= MOST_LABELS or len(expected) < ROWS_PER_LABEL * len(labels):
        return None
    return frozenset(labels) if all(_is_label(text) for text in labels) else None


def label_of(generated: str, labels: frozenset[str]) -> str | None:
    """The label that an answer gives, or None.

    An answer's first line counts, without quotes around it and a full stop behind it; a model that goes on to explain its
    answer is not punished for it, one that names no label is wrong.
    """
    lines = generated.strip().splitlines()
    first = fold(lines[0]) if lines else ""
    for candidate in (
        first,
        first.rstrip(".").strip(),
        first.rstrip(".").strip(QUOTES).strip(),
    ):
        if candidate in labels:
            return candidate
    return None


def is_right(expected: str, generated: str, labels: frozenset[str]) -> float:
    """1 if the answer gives the expected label, else 0."""
    return float(label_of(generated, labels) == fold(expected))


def _is_label(text: str) -> bool:
    return (
        0 < len(text) <= MOST_CHARACTERS and len(text.split()) <= MOST_WORDS and len(text.splitlines()) == 1
    )
