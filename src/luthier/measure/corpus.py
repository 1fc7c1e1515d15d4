"""Metrics of a whole set of rows, kept as columns of numbers whose sums decide the value.

BLEU of a corpus is no mean of the BLEU of its rows, and neither is a loss per token when rows differ in length. What all our
metrics share is that they depend on sums over the rows alone (sufficient statistics), so that a resampled set of rows needs
no text to be scored again: intervals.py adds the columns of the drawn rows and finishes the sums.

Axes: N rows, K columns, S sets of rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
Finish = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class CorpusMetric:
    """One metric over N rows: `finish` turns sums of the columns, shape (S, K), into S values."""

    columns_NK: FloatArray
    finish: Finish

    @property
    def rows(self) -> int:
        return int(self.columns_NK.shape[0])

    def value(self) -> float:
        """The metric over every row once."""
        return float(self.finish(self.columns_NK.sum(axis=0, keepdims=True))[0])


def mean_metric(values_N: ArrayLike) -> CorpusMetric:
    """The plain mean of one value a row."""
    values = as_column(values_N)
    return ratio_metric(values, np.ones(len(values)))


def ratio_metric(numerators_N: ArrayLike, weights_N: ArrayLike, *, scale: float = 1.0) -> CorpusMetric:
    """`scale` times the sum of one column over the sum of another, as in a loss per token; a row may weigh nothing, not all."""
    numerators, weights = as_column(numerators_N), as_column(weights_N)
    assert numerators.shape == weights.shape, "a ratio needs both columns of the same rows"
    assert bool((weights >= 0).all()), "a row weighs less than nothing"
    assert weights.sum() > 0, "a ratio needs weight"

    def finish(sums_SK: FloatArray) -> FloatArray:
        numerator_S, weight_S = sums_SK.T
        # A draw of nothing but weightless rows has no value; 0 stands for it, as rare as the draw.
        ratio_S = np.divide(numerator_S, weight_S, out=np.zeros_like(numerator_S), where=weight_S > 0)
        return np.asarray(scale * ratio_S)

    return CorpusMetric(np.column_stack([numerators, weights]), finish)


def as_column(values_N: ArrayLike) -> FloatArray:
    """The values as a float64 vector with at least one row, all finite."""
    values = np.asarray(values_N, dtype=np.float64)
    assert values.ndim == 1, f"expected a vector, got shape {values.shape}"
    assert len(values) > 0, "there is no row"
    assert bool(np.isfinite(values).all()), "a row's value is not finite"
    return values


def stack_columns(metrics: Sequence[CorpusMetric]) -> tuple[FloatArray, list[slice]]:
    """The columns of several metrics of the same rows side by side, and which columns belong to each."""
    assert len({metric.rows for metric in metrics}) == 1, (
        "metrics of different rows cannot be resampled together"
    )
    ends = np.cumsum([metric.columns_NK.shape[1] for metric in metrics])
    starts = [0, *ends[:-1]]
    return np.concatenate([metric.columns_NK for metric in metrics], axis=1), [
        slice(int(start), int(end)) for start, end in zip(starts, ends, strict=True)
    ]
