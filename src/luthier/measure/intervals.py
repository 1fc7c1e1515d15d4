"""How sure a figure is: confidence intervals, and paired comparisons of two models on the same rows.

Bootstrap (Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapters 13 and 16): draw as many rows as there are,
with replacement, many times; the spread of the figure over the draws is its uncertainty. Two models are compared on the same
draws (Koehn 2004, "Statistical Significance Tests for Machine Translation Evaluation"), which takes out how hard the drawn rows
are. Proportions get Wilson's interval (1927), which stays honest at 0 % and 100 %, where a bootstrap has no width.

The rows are the sample: the interval speaks of other rows of the same kind, not of other seeds of the training.
Axes: N rows, K columns, S resamples.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from luthier.measure.corpus import (
    CorpusMetric,
    FloatArray,
    as_column,
    mean_metric,
    stack_columns,
)

CHUNK_CELLS = 2**22
"""Draws held at once: 32 MiB of float64."""

ROUNDING = 1e-12
"""Differences below this are the summation order's, not the models'."""


@dataclass(frozen=True)
class Interval:
    """A figure and the bounds of its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PairedDelta:
    """Two models on the same rows: delta = tuned - base with its interval, and the two-sided p-value of delta = 0."""

    base: float
    tuned: float
    delta: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class Outcomes:
    """Row numbers, from 0, on which the tuned model did better, worse and equally well."""

    won: tuple[int, ...]
    lost: tuple[int, ...]
    tied: tuple[int, ...]


def wilson(successes: int, rows: int, *, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion (Wilson 1927, "Probable Inference", JASA 22)."""
    assert rows > 0, "a proportion of no row"
    assert 0 <= successes <= rows, f"{successes} of {rows} is no proportion"
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / rows
    scale = 1 + z * z / rows
    middle = (share + z * z / (2 * rows)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    # At the ends the formula gives the end itself, but for rounding.
    low = 0.0 if successes == 0 else middle - half
    high = 1.0 if successes == rows else middle + half
    return Interval(share, low, high)


def bootstrap_mean(
    values_N: ArrayLike, *, samples: int = 2000, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Percentile bootstrap interval of the mean of one value a row."""
    return bootstrap(
        {"mean": mean_metric(values_N)},
        samples=samples,
        confidence=confidence,
        seed=seed,
    )["mean"]


def bootstrap(
    metrics: Mapping[str, CorpusMetric],
    *,
    samples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Percentile bootstrap intervals of several metrics of the same rows, from the same draws."""
    columns_NK, places = stack_columns(list(metrics.values()))
    sums_SK = resample_sums(columns_NK, samples=samples, seed=seed)
    intervals = {}
    for (name, metric), place in zip(metrics.items(), places, strict=True):
        low, high = percentile_bounds(metric.finish(sums_SK[:, place]), confidence)
        intervals[name] = Interval(metric.value(), low, high)
    return intervals


def compare_paired(
    base: Mapping[str, CorpusMetric],
    tuned: Mapping[str, CorpusMetric],
    *,
    samples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, PairedDelta]:
    """Paired bootstrap of tuned - base for every metric that both have; row i of both must be the same question."""
    shared = [name for name in base if name in tuned]
    both = [base[name] for name in shared] + [tuned[name] for name in shared]
    columns_NK, places = stack_columns(both)
    sums_SK = resample_sums(columns_NK, samples=samples, seed=seed)
    values = [metric.finish(sums_SK[:, place]) for metric, place in zip(both, places, strict=True)]
    deltas = {}
    for index, name in enumerate(shared):
        draws_S = values[len(shared) + index] - values[index]
        deltas[name] = _paired_delta(base[name].value(), tuned[name].value(), draws_S, confidence)
    return deltas


def count_outcomes(base_N: ArrayLike, tuned_N: ArrayLike, *, lower_is_better: bool = False) -> Outcomes:
    """Which rows the tuned model won, lost and tied, by one value a row."""
    gains = as_column(tuned_N) - as_column(base_N)
    if lower_is_better:
        gains = -gains
    is_tied = np.abs(gains) <= ROUNDING
    won, lost, tied = (
        tuple(np.flatnonzero(mask).tolist())
        for mask in (~is_tied & (gains > 0), ~is_tied & (gains < 0), is_tied)
    )
    return Outcomes(won, lost, tied)


def resample_sums(columns_NK: FloatArray, *, samples: int, seed: int) -> FloatArray:
    """The columns' sums over `samples` draws of N rows with replacement, shape (S, K)."""
    assert samples > 0, "no resample asked for"
    rows = len(columns_NK)
    generator = np.random.default_rng(seed)
    chunk = max(1, CHUNK_CELLS // rows)
    sums_SK = np.empty((samples, columns_NK.shape[1]))
    for start in range(0, samples, chunk):
        draws = min(chunk, samples - start)
        drawn_SN = generator.integers(0, rows, size=(draws, rows))
        drawn_SN += np.arange(draws)[:, None] * rows
        times_SN = np.bincount(drawn_SN.ravel(), minlength=draws * rows).reshape(draws, rows)
        sums_SK[start : start + draws] = times_SN.astype(np.float64) @ columns_NK
    return sums_SK


def percentile_bounds(values_S: FloatArray, confidence: float) -> tuple[float, float]:
    """The bounds that leave out the same share of the resamples at both ends."""
    low, high = np.quantile(values_S, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


def _paired_delta(base: float, tuned: float, draws_S: FloatArray, confidence: float) -> PairedDelta:
    draws_S = np.where(np.abs(draws_S) <= ROUNDING, 0.0, draws_S)
    delta = tuned - base
    low, high = percentile_bounds(draws_S, confidence)
    # The share of draws on the wrong side of 0, twice: agrees with the interval (0 lies outside about when p < 1 - confidence).
    # The added 1 is the sample itself, so that p is never 0 (Davison and Hinkley 1997, section 4.2.5).
    wrong_side = min(int((draws_S <= 0).sum()), int((draws_S >= 0).sum()))
    p_value = min(1.0, 2 * (wrong_side + 1) / (len(draws_S) + 1))
    return PairedDelta(base, tuned, delta, low, high, p_value)
