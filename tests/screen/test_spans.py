"""A mask leaves nothing that was looked for, whatever stands around it."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.screen import spans
from luthier.screen.personal import find_personal
from luthier.screen.spans import MOST_PASSES, Span, drop_overlaps, mask
from tests.screen.test_checksums import CARDS, IBANS
from tests.screen.test_secrets import KEY, SAMPLES

DATA = (
    "ann@example.org", "+49 30 1234567", "(212) 555-0143", "8.8.8.8", "2001:4860:4860::8888", KEY.format("PRIVATE KEY"),
    *CARDS, *IBANS, *SAMPLES.values(),
)  # fmt: skip
AROUND = st.text(st.sampled_from("aZ09 .,-+()[]{}@:_/\n\"'|é"), max_size=6)


@given(st.lists(st.tuples(AROUND, st.sampled_from(DATA)), min_size=1, max_size=5), AROUND)
@settings(max_examples=300)
def test_a_mask_leaves_nothing_that_can_be_found(parts: list[tuple[str, str]], rest: str) -> None:
    masked = mask("".join(before + data for before, data in parts) + rest, find_personal)
    assert find_personal(masked) == []


@pytest.mark.parametrize("data", DATA)
def test_masking_takes_every_character_of_the_data_and_none_beside_it(data: str) -> None:
    masked = mask(f"before {data} after", find_personal)
    assert masked in {f"before [{kind}] after" for kind in ("EMAIL", "PHONE", "CARD", "IBAN", "IP", "SECRET")}


@given(st.text())
def test_masking_twice_is_masking_once(text: str) -> None:
    once = mask(text, find_personal)
    assert mask(once, find_personal) == once


def test_a_text_without_anything_is_the_same_object() -> None:
    text = "nothing here"
    assert mask(text, find_personal) is text


def test_what_only_a_neighbours_mask_lays_bare_is_masked_as_well() -> None:
    assert mask("+4912345678+4912345678", find_personal) == "[PHONE][PHONE]"


def test_a_text_that_would_take_for_ever_is_masked_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = []

    def find(text: str) -> list[Span]:
        passes.append(text)
        return find_personal(text)[:1]

    assert mask("+4912345678" * (MOST_PASSES + 5), find) == "[PHONE]"
    assert len(passes) == MOST_PASSES + 1
    monkeypatch.setattr(spans, "MOST_PASSES", 100)
    assert mask("+4912345678" * (MOST_PASSES + 5), find) == "[PHONE]" * (MOST_PASSES + 5)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 10)), max_size=10))
def test_spans_that_stay_do_not_overlap_and_cover_a_start(pairs: list[tuple[int, int]]) -> None:
    given_spans = [Span("x", start, start + length) for start, length in pairs]
    kept = drop_overlaps(given_spans)
    assert all(left.end <= right.start for left, right in pairwise(kept))
    assert set(kept) <= set(given_spans)
    for span in given_spans:
        assert any(other.start < span.end and span.start < other.end for other in kept)
