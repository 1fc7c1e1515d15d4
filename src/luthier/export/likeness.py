"""How near two models are to each other, row by row: distances of their logits, perplexities, answers, and where they part most.

Axes: T compared positions of a row, V vocabulary.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from luthier.export.gguf.truth import Truth
from luthier.export.logits import KeptLogits, Logits
from luthier.measure.parity import LogitDifference, combine, compare_logits, kl_divergences, log_softmax


@dataclass(frozen=True)
class Likeness:
    """How another model answers beside the reference."""

    difference: LogitDifference
    perplexity_before: float
    perplexity_after: float
    perplexity_tokens: int
    worst: str
    """The row and token where the two are farthest apart."""
    candidates: float | None = None
    """Next tokens that were compared, on average; None is the whole vocabulary."""


def compare_rows(truth: Truth, other: KeptLogits, tokenizer: PreTrainedTokenizerBase) -> Likeness:
    """The logits of every row, both from files; a vocabulary of another size is infinitely far."""
    parts, losses_before, losses_after = [], [], []
    worst_kl, worst = -1.0, ""
    pairs = zip(truth.rows, truth.logits.by_row(), other.by_row(), strict=True)
    for row, (compared, ours_TV), (_, theirs_TV) in pairs:
        if ours_TV.shape != theirs_TV.shape:
            worst = f"{row.origin}: {theirs_TV.shape[1]:,} logits a token, not {ours_TV.shape[1]:,}"
            parts.append(LogitDifference(len(ours_TV), math.inf, math.inf, math.inf, 0.0))
            continue
        parts.append(compare_logits(ours_TV, theirs_TV))
        kl_T = kl_divergences(ours_TV.astype(np.float64), theirs_TV.astype(np.float64))
        place = int(kl_T.argmax())
        if not kl_T[place] <= worst_kl:  # a NaN is the worst of all, and argmax finds it
            worst_kl = float(kl_T[place])
            worst = name_place(row.origin, compared.ids, compared.positions[place], tokenizer)
        losses_before += list(_losses(ours_TV, compared.ids, compared.positions))
        losses_after += list(_losses(theirs_TV, compared.ids, compared.positions))
    return Likeness(
        combine(parts), perplexity(losses_before), perplexity(losses_after), len(losses_after), worst
    )


def name_place(origin: str, ids: Sequence[int], position: int, tokenizer: PreTrainedTokenizerBase) -> str:
    """A position of a row in words."""
    return f"{origin}, after token {position} ({str(tokenizer.decode([ids[position]]))!r})"


def perplexity(losses: Sequence[float]) -> float:
    """Of losses in nats; NaN of none."""
    return math.exp(min(700.0, sum(losses) / len(losses))) if losses else math.nan


def first_difference(ours: Sequence[int], theirs: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> str:
    """Where two lists of ids part, in words."""
    pairs = zip(ours, theirs, strict=False)
    place = next(
        (number for number, (left, right) in enumerate(pairs) if left != right), min(len(ours), len(theirs))
    )
    here, there = (
        (tokenizer.convert_ids_to_tokens(list(ids[place : place + 1])) or ["the end"])[0]
        for ids in (ours, theirs)
    )
    return f"token {place} is {there!r} there and {here!r} here"


def _losses(logits_TV: Logits, ids: Sequence[int], positions: Sequence[int]) -> Iterator[float]:
    """Of each compared position that has a next token: how surprised the model is of it, in nats."""
    for place, position in enumerate(positions):
        if position + 1 < len(ids):
            yield -float(log_softmax(logits_TV[place].astype(np.float64))[ids[position + 1]])
