import numpy as np
import pytest

from luthier.measure.corpus import mean_metric, ratio_metric, stack_columns


def test_a_mean_and_a_ratio_by_hand() -> None:
    assert mean_metric([1, 0, 0, 1]).value() == 0.5
    assert ratio_metric([1.0, 5.0], [1, 2], scale=10).value() == 20


def test_a_row_that_is_not_finite_is_refused() -> None:
    with pytest.raises(AssertionError, match="not finite"):
        mean_metric([1.0, float("nan")])


def test_metrics_of_different_rows_are_not_resampled_together() -> None:
    with pytest.raises(AssertionError, match="different rows"):
        stack_columns([mean_metric([1.0]), mean_metric([1.0, 2.0])])


def test_stacked_columns_are_found_again() -> None:
    metrics = [mean_metric([1.0, 2.0]), ratio_metric([3.0, 4.0], [5, 6])]
    columns, places = stack_columns(metrics)
    for metric, place in zip(metrics, places, strict=True):
        assert np.array_equal(columns[:, place], metric.columns_NK)
