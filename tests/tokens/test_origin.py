"""An origin is taken apart and put together again without loss."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.tokens.origin import file_of, join_origin, split_origin

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
    lambda name: not name.endswith("#row")
)


@given(name=NAMES, number=st.integers(0, 2**40), is_line=st.booleans())
def test_an_origin_comes_back(name: str, number: int, is_line: bool) -> None:
    origin = f"{name}:{number}" if is_line else f"{name}#row {number}"
    found = split_origin(origin)
    assert found is not None
    source, at = found
    assert (file_of(source), at) == (name, number)
    assert join_origin(source, at) == origin


@pytest.mark.parametrize("text", ["", "a.jsonl", ":1", "a:", "a:x", "a:1 ", "a#row", "a#row x", "a:\u0663"])
def test_what_is_no_origin_is_none(text: str) -> None:
    assert split_origin(text) is None
