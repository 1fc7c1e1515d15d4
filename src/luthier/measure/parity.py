"""Do two models answer alike: distances between their logits, position by position.

For exports: the merged, converted or quantized model against the one that was trained. Sums are kept in float64, since a mean
of small divergences over many tokens drowns in float32.

Axes: T positions, V vocabulary.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.measure.corpus import FloatArray

CHUNK_CELLS = 2**22
"""Logits worked on at once: 32 MiB in float64, for each of a few copies."""


@dataclass(frozen=True)
class LogitDifference:
    """How far two models' logits are apart over `tokens` positions."""

    tokens: int
    max_absolute: float
    """The largest difference of two logits; infinite if either model's logits are not numbers."""
    mean_kl: float
    """Mean KL divergence of the second model from the first, nats a token."""
    max_kl: float
    """The worst position."""
    top1_agreement: float
    """The share of positions where both models rank the same token first."""


def compare_logits(first_TV: NDArray[Any], second_TV: NDArray[Any]) -> LogitDifference:
    """Compare two arrays of logits of the same positions; the first is the truth of the KL divergence.

    NaN in either makes every distance infinite, so that no threshold lets it pass; logits of minus infinity (masked tokens)
    are equal if both models have them.
    """
    assert first_TV.shape == second_TV.shape, f"logits of shapes {first_TV.shape} and {second_TV.shape}"
    assert first_TV.ndim == 2, f"expected logits (T, V), got shape {first_TV.shape}"
    assert first_TV.size > 0, "there is no position to compare"
    chunk = max(1, CHUNK_CELLS // first_TV.shape[1])
    return combine(
        _compare_chunk(
            first_TV[start : start + chunk].astype(np.float64),
            second_TV[start : start + chunk].astype(np.float64),
        )
        for start in range(0, len(first_TV), chunk)
    )


def combine(parts: Iterable[LogitDifference]) -> LogitDifference:
    """The difference over all positions of several parts."""
    listed = list(parts)
    assert listed, "nothing to combine"
    tokens = sum(part.tokens for part in listed)
    return LogitDifference(
        tokens=tokens,
        max_absolute=max(part.max_absolute for part in listed),
        mean_kl=sum(part.mean_kl * part.tokens for part in listed) / tokens,
        max_kl=max(part.max_kl for part in listed),
        top1_agreement=sum(part.top1_agreement * part.tokens for part in listed) / tokens,
    )


def kl_divergences(first_TV: FloatArray, second_TV: FloatArray) -> FloatArray:
    """KL(first || second) of every position, in nats; never negative, infinite where the second rules out what the first allows."""
    log_first, log_second = log_softmax(first_TV), log_softmax(second_TV)
    share = np.exp(log_first)
    with np.errstate(invalid="ignore"):
        terms = np.where(share > 0, share * (log_first - log_second), 0.0)
    # Rounding can bring a sum of nearly equal distributions just below 0.
    return np.asarray(np.maximum(terms.sum(axis=-1), 0.0))


def log_softmax(logits_TV: FloatArray) -> FloatArray:
    """Logarithms of the probabilities, along the vocabulary."""
    shifted: FloatArray = logits_TV - logits_TV.max(axis=-1, keepdims=True)
    with np.errstate(divide="ignore"):
        return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def same_share(
    ours: Sequence[Sequence[int]] | Sequence[str], theirs: Sequence[Sequence[int]] | Sequence[str]
) -> float | None:
    """The share of the longer answers that both begin with, in tokens or characters; None of no answers."""
    shared = total = 0
    for first, second in zip(ours, theirs, strict=True):
        total += max(len(first), len(second))
        for left, right in zip(first, second, strict=False):
            if left != right:
                break
            shared += 1
    return shared / total if total else None


def _compare_chunk(first_TV: FloatArray, second_TV: FloatArray) -> LogitDifference:
    tokens = len(first_TV)
    if _is_broken(first_TV) or _is_broken(second_TV):
        return LogitDifference(tokens, np.inf, np.inf, np.inf, 0.0)
    with np.errstate(invalid="ignore"):
        gaps = np.where(first_TV == second_TV, 0.0, np.abs(first_TV - second_TV))
    divergences_T = kl_divergences(first_TV, second_TV)
    agrees_T = first_TV.argmax(axis=-1) == second_TV.argmax(axis=-1)
    return LogitDifference(
        tokens=tokens,
        max_absolute=float(gaps.max()),
        mean_kl=float(divergences_T.mean()),
        max_kl=float(divergences_T.max()),
        top1_agreement=float(agrees_T.mean()),
    )


def _is_broken(logits_TV: FloatArray) -> bool:
    """Whether a position has no probabilities: NaN, plus infinity, or nothing above minus infinity."""
    return not bool(np.isfinite(logits_TV.max(axis=-1)).all())
