from hypothesis import given
from hypothesis import strategies as st

from luthier.measure.overlap import exact_match, jaccard_overlap, token_f1

TEXTS = st.text(alphabet="aAbB .,\n[]é", max_size=30)


def guide_exact_match(expected: str, generated: str) -> float:
    """The guide's evaluator, as written in its section 13."""
    return float(generated.lower() == expected.lower())


@given(TEXTS, TEXTS)
def test_exact_match_is_the_guides_on_texts_without_white_space_at_their_ends(
    expected: str, generated: str
) -> None:
    expected, generated = expected.strip(), generated.strip()
    assert exact_match(expected, generated) == guide_exact_match(expected, generated)


def test_exact_match_forgives_white_space_at_the_ends_where_the_guide_does_not() -> None:
    assert guide_exact_match("Yes", "yes\n") == 0
    assert exact_match("Yes", " yes\n") == 1
    assert exact_match("a b", "a  b") == 0


def test_jaccard_overlap_by_hand() -> None:
    assert jaccard_overlap("the Cat sat", "the cat ran away") == 2 / 5
    assert jaccard_overlap("a a a b", "b a") == 1
    assert jaccard_overlap("", "") == 1
    assert jaccard_overlap("", "word") == 0
    assert jaccard_overlap("cat,", "cat") == 0


def test_token_f1_by_hand() -> None:
    # precision 2/3, recall 2/2
    assert abs(token_f1("Denver Broncos", "the Denver Broncos won!") - 0.8) < 1e-12
    assert token_f1("The Eiffel Tower.", "eiffel tower") == 1
    assert token_f1("a", "the") == 1
    assert token_f1("a", "dog") == 0
    # A word counts as often as both sides have it: 2 of 3 and 2 of 2.
    assert abs(token_f1("no no no", "no no") - 0.8) < 1e-12


@given(TEXTS, TEXTS)
def test_overlaps_are_symmetric_lie_in_0_to_1_and_are_1_for_equal_texts(one: str, other: str) -> None:
    for score in (exact_match, jaccard_overlap, token_f1):
        assert 0 <= score(one, other) <= 1
        assert score(one, other) == score(other, one)
        assert score(one, one) == 1
