import math

import numpy as np
import pytest

from luthier.measure.intervals import bootstrap
from luthier.measure.likelihood import (
    bits_per_byte,
    bits_per_byte_metric,
    loss_metric,
    perplexity,
    perplexity_metric,
)


def test_a_uniform_guess_over_v_tokens_has_perplexity_v() -> None:
    assert perplexity(7 * math.log(64), 7) == pytest.approx(64)


def test_one_bit_a_byte() -> None:
    assert bits_per_byte(math.log(2) * 12, 12) == pytest.approx(1)


def test_long_rows_weigh_more() -> None:
    nll, tokens = [2.0, 30.0], [2, 10]
    assert loss_metric(nll, tokens).value() == pytest.approx(32 / 12)
    assert perplexity_metric(nll, tokens).value() == pytest.approx(math.exp(32 / 12))
    assert bits_per_byte_metric(nll, [8, 40]).value() == pytest.approx(bits_per_byte(32, 48))


def test_a_lost_model_has_a_huge_but_finite_perplexity() -> None:
    assert math.isfinite(perplexity(1e9, 1))
    assert math.isfinite(perplexity_metric([1e9], [1]).value())


def test_the_interval_of_the_perplexity_is_that_of_the_loss_raised() -> None:
    generator = np.random.default_rng(0)
    nll, tokens = generator.gamma(2.0, 5.0, size=50), generator.integers(1, 20, size=50)
    found = bootstrap(
        {
            "loss": loss_metric(nll, tokens),
            "perplexity": perplexity_metric(nll, tokens),
        },
        samples=401,
    )
    assert found["perplexity"].low == pytest.approx(math.exp(found["loss"].low), rel=1e-2)
    assert found["perplexity"].high == pytest.approx(math.exp(found["loss"].high), rel=1e-2)


def test_a_row_without_tokens_counts_for_nothing() -> None:
    assert loss_metric([6.0, 0.0], [3, 0]).value() == 2
    assert bootstrap({"loss": loss_metric([6.0, 0.0], [3, 0])}, samples=200)["loss"].high == 2


def test_rows_without_any_token_are_refused() -> None:
    with pytest.raises(AssertionError, match="weight"):
        loss_metric([0.0], [0])
