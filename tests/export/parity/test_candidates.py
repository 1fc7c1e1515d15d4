"""Log probabilities of some candidates: never a larger distance than over the whole vocabulary, and equal to it over all of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.export.parity.candidates import Spellings, Told, compare_told, read_told
from luthier.measure.parity import kl_divergences, log_softmax
from tests.tiny import make_tiny_tokenizer

VOCABULARY = 12
logits = st.lists(st.floats(-8, 8, width=32), min_size=VOCABULARY, max_size=VOCABULARY)


@given(logits, logits, st.integers(1, VOCABULARY))
def test_fewer_candidates_give_a_lower_bound(ours: list[float], theirs: list[float], count: int) -> None:
    ours_V, theirs_V = np.array(ours, np.float32), np.array(theirs, np.float64)
    logprobs_V = log_softmax(theirs_V)
    likeliest = np.argsort(-logprobs_V)[:count].tolist()
    told = Told((likeliest[0],), {token: float(logprobs_V[token]) for token in likeliest})
    found = compare_told(ours_V, told, likeliest[-1])
    exact = float(kl_divergences(ours_V[None].astype(np.float64), theirs_V[None])[0])
    assert found.kl <= exact + 1e-4
    if count == VOCABULARY:
        assert found.kl == pytest.approx(exact, abs=1e-4)
    assert found.candidates == count
    assert found.losses is not None
    assert found.losses[1] == pytest.approx(-float(logprobs_V[likeliest[-1]]))


def test_a_spelling_that_tokens_share_is_in_the_rest_and_may_be_any_of_them() -> None:
    spellings = Spellings(make_tiny_tokenizer(), 300)
    shared = spellings.find("\ufffd")
    assert len(shared) > 100, "the bytes that are no sign by themselves"
    facts = {
        "tokens": ["\ufffd"],
        "top_logprobs": [{"\ufffd": -0.1, "a": -3.0, "b": -9999.0, "never seen": -4.0}],
    }
    (told,) = read_told({"logprobs": facts}, spellings)
    assert told.taken == shared
    assert told.logprobs == {spellings.find("a")[0]: -3.0}
    logits_V = np.zeros(300, np.float32)
    logits_V[shared[3]] = 5.0
    assert compare_told(logits_V, told, None).same_first


def test_ids_that_are_none_of_ours_are_in_the_rest() -> None:
    told = Told((1,), {1: -0.5, 10**9: -1.5, -1: -2.0})
    assert compare_told(np.zeros(4, np.float32), told, 10**9).losses is None
    assert compare_told(np.zeros(4, np.float32), told, None).candidates == 1
