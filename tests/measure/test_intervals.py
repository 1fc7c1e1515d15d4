import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.significance import PairedTest

from luthier.measure import intervals
from luthier.measure.corpus import mean_metric, ratio_metric
from luthier.measure.intervals import (
    bootstrap,
    bootstrap_mean,
    compare_paired,
    count_outcomes,
    resample_sums,
    wilson,
)
from luthier.measure.metrics import score_rows

VALUES = st.lists(st.floats(min_value=0, max_value=1, width=32), min_size=1, max_size=30)


def test_wilson_by_hand() -> None:
    # 10 right of 10 and z = 1.96: low = 1 / (1 + z²/10) = 0.7225; 5 of 10: 0.2366 to 0.7634 (Wilson's formula).
    full, half, none = wilson(10, 10), wilson(5, 10), wilson(0, 10)
    assert (full.value, full.high) == (1, 1)
    assert full.low == pytest.approx(1 / (1 + 1.959964**2 / 10), abs=1e-6)
    assert (half.low, half.high) == pytest.approx((0.2366, 0.7634), abs=5e-5)
    assert none.low == 0
    assert none.high == pytest.approx(1 - full.low)


@given(st.integers(1, 5000), st.floats(0, 1), st.floats(0.5, 0.999))
def test_wilson_holds_the_share_and_stays_in_0_to_1(rows: int, share: float, confidence: float) -> None:
    found = wilson(round(share * rows), rows, confidence=confidence)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low < found.high


def test_wilson_covers_the_truth_as_often_as_it_says() -> None:
    # Exact coverage from the binomial distribution, no simulation: n = 60, averaged over the true shares.
    rows = 60
    bounds = [wilson(successes, rows) for successes in range(rows + 1)]
    coverages = [
        sum(
            math.comb(rows, successes) * truth**successes * (1 - truth) ** (rows - successes)
            for successes, found in enumerate(bounds)
            if found.low <= truth <= found.high
        )
        for truth in np.linspace(0.02, 0.98, 49)
    ]
    assert np.mean(coverages) == pytest.approx(0.95, abs=0.01)
    assert min(coverages) > 0.88


def test_bootstrap_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(11)
    experiments, rows, truth = 400, 50, 2 / 7
    hits = 0
    for experiment in range(experiments):
        found = bootstrap_mean(generator.beta(2, 5, size=rows), samples=400, seed=experiment)
        hits += found.low <= truth <= found.high
    # Three standard errors of a binomial share of 0.95 are 0.033; the percentile bootstrap is slightly short at n = 50.
    assert 0.90 < hits / experiments < 0.98


def test_paired_intervals_cover_the_true_gain_where_unpaired_ones_would_be_wide() -> None:
    generator = np.random.default_rng(12)
    hits, widths, experiments, rows = 0, [], 200, 60
    for experiment in range(experiments):
        difficulty = generator.normal(scale=5, size=rows)
        base = difficulty + generator.normal(scale=0.5, size=rows)
        tuned = difficulty + 0.3 + generator.normal(scale=0.5, size=rows)
        found = compare_paired(
            {"x": mean_metric(base)},
            {"x": mean_metric(tuned)},
            samples=300,
            seed=experiment,
        )["x"]
        hits += found.low <= 0.3 <= found.high
        widths.append(found.high - found.low)
    assert 0.89 < hits / experiments < 0.99
    # 2 · 1.96 · sqrt(0.5² + 0.5²) / sqrt(60) = 0.36; unpaired it would be 3.6.
    assert np.mean(widths) == pytest.approx(0.36, abs=0.04)


def test_the_bootstrap_agrees_with_the_normal_approximation_on_many_rows() -> None:
    values = np.random.default_rng(5).normal(size=4000)
    found = bootstrap_mean(values, samples=1000)
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert (found.low, found.high) == pytest.approx(
        (values.mean() - half, values.mean() + half), abs=half * 0.12
    )


def test_two_rows_by_hand() -> None:
    # Draws of {0, 1} with replacement: means 0, 1/2, 1 with shares 1/4, 1/2, 1/4.
    sums = resample_sums(np.array([[0.0], [1.0]]), samples=4000, seed=0)[:, 0]
    shares = [float((sums == total).mean()) for total in (0, 1, 2)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.03)
    found = bootstrap_mean([0, 1])
    assert (found.value, found.low, found.high) == (0.5, 0, 1)


@given(VALUES)
@settings(deadline=None, max_examples=50)
def test_the_interval_of_a_mean_holds_the_mean(values: list[float]) -> None:
    found = bootstrap_mean(values, samples=500)
    assert found.low - 1e-9 <= found.value <= found.high + 1e-9
    assert min(values) - 1e-9 <= found.low
    assert found.high <= max(values) + 1e-9


@given(VALUES, st.integers(0, 2**32))
@settings(deadline=None, max_examples=30)
def test_equal_systems_have_no_gain_no_win_and_p_1(values: list[float], seed: int) -> None:
    weights = np.arange(1, len(values) + 1)
    system = {"mean": mean_metric(values), "ratio": ratio_metric(values, weights)}
    for found in compare_paired(system, system, samples=200, seed=seed).values():
        assert (found.delta, found.low, found.high, found.p_value) == (0, 0, 0, 1)
    outcomes = count_outcomes(values, values)
    assert (outcomes.won, outcomes.lost) == ((), ())
    assert outcomes.tied == tuple(range(len(values)))


@given(VALUES, st.integers(0, 100))
@settings(deadline=None, max_examples=30)
def test_swapping_the_systems_mirrors_the_comparison(values: list[float], seed: int) -> None:
    base, tuned = {"m": mean_metric(values)}, {"m": mean_metric(values[::-1])}
    ahead, back = (
        compare_paired(*pair, samples=200, seed=seed)["m"] for pair in ((base, tuned), (tuned, base))
    )
    assert (ahead.delta, ahead.low, ahead.high) == pytest.approx(
        (-back.delta, -back.high, -back.low), abs=1e-9
    )
    assert ahead.p_value == back.p_value


def test_a_clear_gain_has_a_small_p_and_an_interval_above_0() -> None:
    base, tuned = np.zeros(100), np.r_[np.ones(30), np.zeros(70)]
    found = compare_paired({"m": mean_metric(base)}, {"m": mean_metric(tuned)}, samples=1999)["m"]
    assert (found.base, found.tuned, found.delta) == (0, 0.3, 0.3)
    assert found.low > 0.2
    assert found.high < 0.4
    assert found.p_value == pytest.approx(2 / 2000)


def test_noise_is_rarely_called_a_gain() -> None:
    generator = np.random.default_rng(21)
    p_values = [
        compare_paired(
            {"m": mean_metric(generator.normal(size=40))},
            {"m": mean_metric(generator.normal(size=40))},
            samples=199,
        )["m"].p_value
        for _ in range(200)
    ]
    # 5 % of comparisons without a difference fall below 0.05; 200 of them scatter by 1.5 points (the small n adds a little).
    assert 0.01 <= np.mean(np.array(p_values) < 0.05) <= 0.11


def test_outcomes_by_hand() -> None:
    found = count_outcomes([0, 1, 0.5, 0.5], [1, 0, 0.5, 0.75])
    assert (found.won, found.lost, found.tied) == ((0, 3), (1,), (2,))
    found = count_outcomes([2.0, 1.0], [1.0, 2.0], lower_is_better=True)
    assert (found.won, found.lost, found.tied) == ((0,), (1,), ())


def test_a_seed_decides_the_draws_and_chunks_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    columns = np.random.default_rng(0).random((30, 2))
    first, again, other = (resample_sums(columns, samples=50, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    monkeypatch.setattr(intervals, "CHUNK_CELLS", 100)  # 3 draws at a time
    chunked = resample_sums(np.ones((30, 1)), samples=50, seed=1)
    assert np.array_equal(chunked, np.full((50, 1), 30.0))


EXPECTED = [
    f"the {animal} sat on the {place} for {hours} hours"
    for animal, place, hours in zip(
        ["cat", "dog", "bird", "fish", "cow", "ant"] * 6,
        ["mat", "rug", "bed", "tree", "roof"] * 8,
        range(36),
        strict=False,
    )
]


def test_corpus_bleu_and_its_paired_comparison_agree_with_sacrebleus_bootstrap() -> None:
    worse = [text.replace("sat", "is") if row % 2 else text for row, text in enumerate(EXPECTED)]
    better = [text.replace("hours", "days") if row % 3 == 0 else text for row, text in enumerate(EXPECTED)]
    base, tuned = (
        score_rows(EXPECTED, worse).corpus,
        score_rows(EXPECTED, better).corpus,
    )
    ours = compare_paired({"bleu": base["bleu"]}, {"bleu": tuned["bleu"]}, samples=1000)["bleu"]
    interval = bootstrap({"bleu": tuned["bleu"]}, samples=1000)["bleu"]

    _, found = PairedTest([("base", worse), ("tuned", better)], {"BLEU": BLEU()}, [EXPECTED], "bs", 1000)()
    theirs_base, theirs_tuned = found["BLEU"]
    assert (ours.base, ours.tuned) == pytest.approx(
        (theirs_base.score / 100, theirs_tuned.score / 100), abs=1e-9
    )
    assert (interval.high - interval.low) / 2 == pytest.approx(theirs_tuned.ci / 100, rel=0.15)
    assert ours.low > 0
    assert theirs_tuned.p_value < 0.05
    assert ours.p_value < 0.05
