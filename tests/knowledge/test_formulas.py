"""Formulas are evaluated as Python would, and nothing but arithmetic is."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.knowledge.formulas import as_written, evaluate, names_in, show_number, written_with


@given(a=st.floats(0.1, 100), b=st.floats(0.1, 100), n=st.integers(0, 5))
def test_a_formula_is_worth_what_python_says(a: float, b: float, n: int) -> None:
    formula = "2 * a ** n / (b + 1) - sqrt(a) * exp(-b) + max(a, log(b)) + cos(pi * a)"
    wanted = 2 * a**n / (b + 1) - math.sqrt(a) * math.exp(-b) + max(a, math.log(b)) + math.cos(math.pi * a)
    assert evaluate(formula, {"a": a, "b": b, "n": n}) == pytest.approx(wanted)
    assert names_in(formula) == ["a", "n", "b"]


@pytest.mark.parametrize(
    "formula",
    [
        "__import__('os')",
        "a.b",
        "[1]",
        "'x'",
        "lambda: 1",
        "a if b else c",
        "unknown",
        "sqrt(a, key=1)",
        "a @ a",
        "x[0]",
    ],
)
def test_what_is_no_arithmetic_is_refused(formula: str) -> None:
    with pytest.raises(ValueError, match="no arithmetic"):
        evaluate(formula, {"a": 1.0, "b": 0.0, "c": 2.0})


def test_a_formula_is_written_as_people_write_it() -> None:
    values = {"layers": 32.0, "lr": 2e-4, "steps": 1000.0}
    assert written_with("layers * lr ** steps", values) == "32 x 0.0002^1,000"
    assert as_written("a * b ** 2") == "a x b^2"
    assert [show_number(value) for value in (8030261248, 0.000123456, 1.5)] == ["8,030,261,248", "0.0001235", "1.5"]  # fmt: skip
