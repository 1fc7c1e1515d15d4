"""Quantities for people: few digits, the right unit, never a step from one unit to the next that misleads."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.floor.units import format_bytes, format_count, format_duration

BYTES = {"B": 0, "KiB": 1, "MiB": 2, "GiB": 3, "TiB": 4}
COUNTS = {"": 0, "k": 1, "M": 2, "G": 3, "T": 4}


@pytest.mark.parametrize(
    "count, text",
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1.5 * 2**30, "1.5 GiB"),
        (2**40, "1.0 TiB"),
        (5 * 2**50, "5120.0 TiB"),
        (-2048, "-2.0 KiB"),
    ],
)
def test_bytes_are_binary(count: float, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0, "0.0 s"),
        (12.34, "12.3 s"),
        (59.99, "1 min 00 s"),
        (60, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.7, "1 h 00 min"),
        (3720, "1 h 02 min"),
        (90000, "25 h 00 min"),
    ],
)
def test_durations_have_two_units_at_most(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    "count, text",
    [
        (0, "0"),
        (999, "999"),
        (0.5, "0.5"),
        (1000, "1 k"),
        (7_350_000, "7.35 M"),
        (999_999, "1 M"),
        (8.03e9, "8.03 G"),
        (2e13, "20 T"),
    ],
)
def test_counts_have_three_digits(count: float, text: str) -> None:
    assert format_count(count) == text


@given(st.integers(0, 2**60))
def test_bytes_are_right_to_the_digits_shown(count: int) -> None:
    number, unit = format_bytes(count).split()
    assert float(number) * 1024 ** BYTES[unit] == pytest.approx(count, rel=0.05, abs=0.5)
    assert float(number) <= 1024 or unit == "TiB"


@given(st.integers(0, 10**15))
def test_counts_are_right_to_the_digits_shown(count: int) -> None:
    number, _, unit = format_count(count).partition(" ")
    assert float(number) * 1000 ** COUNTS[unit] == pytest.approx(count, rel=0.005, abs=0.5)
    assert "e" not in number


@given(st.floats(0, 10**7))
def test_no_duration_shows_sixty_of_a_unit(seconds: float) -> None:
    text = format_duration(seconds)
    assert not re.search(r"\b60(\.0)? (s|min)\b", text)
