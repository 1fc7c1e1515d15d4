"""Slot F1: how much of an expected record an answer holds.

A record is written `name[Aromi], food[Chinese]` or as a flat JSON object. An item is a slot with its value, compared after
strip and lower; items are counted as a bag, and the corpus value adds the counts before dividing (micro F1). The expected side
must be a record from end to end. Of the answer, the bracket form counts every item found in it, so that half an answer earns
half; the JSON form must parse, since a program that reads it needs that.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from luthier.measure.corpus import CorpusMetric, FloatArray
from luthier.measure.overlap import fold

Items = Counter[tuple[str, str]]

# An item starts where the text starts or after a bracket or comma: without the look-behind a long text is searched in
# quadratic time. Possessive (++) for the same reason.
ITEM = re.compile(r"(?<![^\[\],])([^\[\],]++)\[([^\[\]]*+)\]")
RECORD = re.compile(r"[^\[\],]++\[[^\[\]]*+\]\s*+(?:,[^\[\],]++\[[^\[\]]*+\]\s*+)*+")
# JSON scalars only: a flat record has no lists and no objects inside.
SCALAR = (str, int, float, bool, type(None))


def slot_counts(expected: str, generated: str) -> tuple[int, int, int] | None:
    """(items in both, in the answer alone, in the expected record alone); None if `expected` is no record."""
    wanted, found = read_brackets(expected), find_brackets(generated)
    if wanted is None:
        wanted, found = (
            read_json_record(expected),
            read_json_record(generated) or Counter(),
        )
    if wanted is None:
        return None
    both = (wanted & found).total()
    return both, found.total() - both, wanted.total() - both


def slot_f1(expected: str, generated: str) -> float | None:
    """F1 of one row's items; None if `expected` is no record, 1 if both records are empty."""
    counts = slot_counts(expected, generated)
    return None if counts is None else float(f1_of_sums(np.array([counts], dtype=np.float64))[0])


def slot_f1_metric(counts: Sequence[tuple[int, int, int]]) -> CorpusMetric:
    """Micro F1 over rows of counts."""
    return CorpusMetric(np.array(counts, dtype=np.float64), f1_of_sums)


def f1_of_sums(sums_SK: FloatArray) -> FloatArray:
    """2·both / (2·both + answer alone + expected alone); no item on either side is full agreement."""
    both, answer_alone, expected_alone = sums_SK.T
    total = 2 * both + answer_alone + expected_alone
    return np.where(total > 0, 2 * both / np.where(total > 0, total, 1), 1.0)


def read_brackets(text: str) -> Items | None:
    """The items of a text that is nothing but `slot[value]` items with commas between; None for any other text."""
    return find_brackets(text) if RECORD.fullmatch(text) else None


def find_brackets(text: str) -> Items:
    """Every `slot[value]` item of a text; what stands between a comma or bracket and `[` is the slot's name."""
    return Counter((fold(slot), fold(value)) for slot, value in ITEM.findall(text))


def read_json_record(text: str) -> Items | None:
    """The items of a text that is one flat JSON object; None for any other text.

    A number, true, false and null are no texts: 4 and "4" are different values. A slot given twice counts twice.
    """
    if not text.lstrip().startswith("{"):
        return None
    try:
        pairs = json.loads(text, object_pairs_hook=_Pairs, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    if not isinstance(pairs, _Pairs) or not all(isinstance(value, SCALAR) for _, value in pairs):
        return None
    return Counter((fold(slot), _spell(value)) for slot, value in pairs)


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as its pairs, repeated keys included."""


def _spell(value: str | float | bool | None) -> str:
    """One text a value; texts in quotes, so that none equals a number."""
    return json.dumps(fold(value) if isinstance(value, str) else value)


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON")
