"""Drop rows that are the same as an earlier one, or as one of the other set; list prompts that are answered twice."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from luthier.data.dedup.columns import Array, equal_groups
from luthier.data.dedup.table import Table
from luthier.data.dedup.verdict import AGAINST_EXACT, EXACT, Verdict


@dataclass(frozen=True)
class Prompts:
    """How often prompts come again, and which are answered differently."""

    repeated: int
    """Rows whose prompt stood in an earlier row."""
    conflicting: int
    """Prompts with more than one answer."""


def drop_exact(table: Table, verdict: Verdict, *, budget_bytes: int) -> Array:
    """Drop exact repeats; returns which of all rows are the first of their kind, and so worth a closer look."""
    is_first_N = np.ones(len(table), dtype=bool)
    for group in equal_groups(table.exact_N2[:, 0], budget_bytes=budget_bytes):
        for rows in _same(table.exact_N2[group, 1], group):
            others = rows[rows >= table.first_against]
            kept = int(others[0]) if len(others) else int(rows[0])
            kind = AGAINST_EXACT if len(others) else EXACT
            is_first_N[rows] = False
            is_first_N[kept] = True
            for row in rows[rows < table.first_against].tolist():
                if row != kept:
                    verdict.drop(row, kind, kept, 1.0)
    return is_first_N


def _same(rest_of_key: Array, rows: Array) -> Iterator[Array]:
    """Split rows that agree in half of the key by the other half; almost always there is one part."""
    if (rest_of_key == rest_of_key[0]).all():
        yield rows
        return
    for value in np.unique(rest_of_key):
        yield rows[rest_of_key == value]


def count_prompts(table: Table, keys_N: Array, *, budget_bytes: int) -> Prompts:
    """Over the source rows, before anything is dropped."""
    among_N = _has_prompt(table)
    repeated = conflicting = 0
    for rows in equal_groups(keys_N, budget_bytes=budget_bytes, among_N=among_N):
        repeated += len(rows) - 1
        conflicting += len(np.unique(table.answer_N[rows])) > 1
    return Prompts(repeated, conflicting)


def conflicts(table: Table, is_kept_S: Array, *, budget_bytes: int) -> Iterator[Array]:
    """Kept rows with the same folded prompt and more than one answer, group by group."""
    among_N = _has_prompt(table)
    among_N[: table.first_against] &= is_kept_S
    for rows in equal_groups(table.folded_N, budget_bytes=budget_bytes, among_N=among_N):
        if len(np.unique(table.answer_N[rows])) > 1:
            yield rows


def _has_prompt(table: Table) -> Array:
    among_N = np.asarray(table.folded_N != 0)
    among_N[table.first_against :] = False
    return among_N
