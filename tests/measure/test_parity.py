import numpy as np
import pytest

from luthier.measure import parity
from luthier.measure.parity import combine, compare_logits, kl_divergences


def some_logits(tokens: int = 7, vocabulary: int = 11, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(tokens, vocabulary)).astype(np.float32)


def test_equal_models_do_not_differ() -> None:
    logits = some_logits()
    found = compare_logits(logits, logits.copy())
    assert (
        found.max_absolute,
        found.mean_kl,
        found.max_kl,
        found.top1_agreement,
        found.tokens,
    ) == (
        0,
        0,
        0,
        1,
        7,
    )


def test_kl_divergence_by_hand() -> None:
    first, second = np.log([[0.5, 0.5]]), np.log([[0.9, 0.1]])
    expected = 0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.5 / 0.1)
    assert compare_logits(first, second).mean_kl == pytest.approx(expected)
    # Not symmetric: the first is the truth.
    assert compare_logits(second, first).mean_kl == pytest.approx(
        0.9 * np.log(0.9 / 0.5) + 0.1 * np.log(0.1 / 0.5)
    )


def test_a_constant_added_to_all_logits_of_a_position_changes_no_probability() -> None:
    logits = some_logits().astype(np.float64)
    found = compare_logits(logits, logits + 1000)
    assert found.max_absolute == pytest.approx(1000)
    assert found.mean_kl == pytest.approx(0, abs=1e-12)
    assert found.top1_agreement == 1


def test_one_changed_position_shows_in_every_figure() -> None:
    first = some_logits()
    second = first.copy()
    second[3, first[3].argmin()] += 20
    found = compare_logits(first, second)
    assert found.max_absolute == pytest.approx(20, rel=1e-5)
    assert found.top1_agreement == pytest.approx(6 / 7)
    assert found.max_kl == pytest.approx(7 * found.mean_kl)
    assert found.max_kl > 1


def test_chunks_give_the_figures_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = some_logits(seed=1), some_logits(seed=2)
    whole = compare_logits(first, second)
    monkeypatch.setattr(parity, "CHUNK_CELLS", 22)  # two positions at a time
    parts = compare_logits(first, second)
    assert parts.mean_kl == pytest.approx(whole.mean_kl, rel=1e-12)
    assert (parts.tokens, parts.max_absolute, parts.max_kl) == (
        whole.tokens,
        whole.max_absolute,
        whole.max_kl,
    )
    assert parts.top1_agreement == pytest.approx(whole.top1_agreement)


def test_parts_weigh_by_their_tokens() -> None:
    first, second = some_logits(seed=1), some_logits(seed=2)
    parts = combine([compare_logits(first[:2], second[:2]), compare_logits(first[2:], second[2:])])
    assert parts.mean_kl == pytest.approx(compare_logits(first, second).mean_kl)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_logits_that_are_no_numbers_pass_no_threshold(broken: float, side: int) -> None:
    pair = [some_logits(), some_logits()]
    pair[side][2, 5] = broken
    found = compare_logits(pair[0], pair[1])
    assert found.max_absolute == np.inf
    assert found.mean_kl == np.inf
    assert found.top1_agreement == 0


def test_tokens_masked_in_both_models_are_equal_and_in_one_differ() -> None:
    first = some_logits()
    first[:, 4] = -np.inf
    assert compare_logits(first, first.copy()).max_absolute == 0
    assert compare_logits(first, some_logits()).max_absolute == np.inf
    assert np.isinf(kl_divergences(some_logits().astype(np.float64), first.astype(np.float64))).all()


def test_small_divergences_survive_low_precision() -> None:
    first = some_logits(tokens=500, vocabulary=300, seed=4)
    second = first + np.random.default_rng(5).normal(scale=1e-3, size=first.shape).astype(np.float32)
    exact = compare_logits(first.astype(np.float64), second.astype(np.float64)).mean_kl
    assert compare_logits(first, second).mean_kl == pytest.approx(exact, rel=1e-9)
    assert 1e-7 < exact < 1e-6
