"""A misspelt name finds the one that was meant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.floor.lookup import did_you_mean, nearest

KNOWN = ("train.lr", "train.epochs", "train.batch_size", "model.name", "data.path")
NAMES = st.text("abcdefghijklmnopqrstuvwxyz_.", min_size=3, max_size=20)


@pytest.mark.parametrize(
    "name, meant",
    [
        ("train.lrr", "train.lr"),
        ("train.epoch", "train.epochs"),
        ("model.batch_size", "train.batch_size"),
        ("batch_sise", "train.batch_size"),
        ("epochs", "train.epochs"),
    ],
)
def test_a_slip_finds_the_name_that_was_meant(name: str, meant: str) -> None:
    assert did_you_mean(name, KNOWN) == f"; did you mean {meant}?"


def test_a_name_like_no_other_gets_no_guess() -> None:
    assert did_you_mean("zzzzzz", KNOWN) == ""
    assert nearest("x", []) == []


@given(st.lists(NAMES, min_size=1, max_size=8, unique=True), st.data())
def test_a_known_name_is_nearest_to_itself(known: list[str], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(known))
    assert nearest(name, known) == [name]


@given(NAMES, st.lists(NAMES, max_size=8), st.integers(1, 3))
def test_guesses_are_known_different_and_no_more_than_asked(
    name: str, known: list[str], at_most: int
) -> None:
    found = nearest(name, known, at_most=at_most)
    assert len(found) == len(set(found)) <= at_most
    assert set(found) <= set(known)


@given(NAMES, st.lists(NAMES, max_size=8))
def test_the_order_of_the_known_names_changes_nothing(name: str, known: list[str]) -> None:
    assert nearest(name, known, at_most=3) == nearest(name, reversed(known), at_most=3)
