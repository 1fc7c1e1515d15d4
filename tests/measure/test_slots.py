import json
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.measure.slots import read_brackets, slot_counts, slot_f1, slot_f1_metric

RECORD = "name[Aromi], eatType[coffee shop], customer rating[5 out of 5]"
WORDS = st.text(alphabet="abcXYZ é£-", min_size=1, max_size=8).filter(lambda text: text.strip() != "")


def test_slot_f1_by_hand() -> None:
    # Two items right, one wrong value (wrong on both sides), so 2·2 / (3 + 3).
    assert slot_f1(RECORD, "customer rating[1 out of 5], name[aromi],eatType[Coffee Shop]") == pytest.approx(
        4 / 6
    )
    assert slot_counts(RECORD, "name[Aromi], food[Thai]") == (1, 1, 2)
    assert slot_f1(RECORD, RECORD) == 1
    assert slot_f1(RECORD, "I do not know") == 0


def test_half_an_answer_earns_the_items_that_it_finished() -> None:
    assert slot_counts(RECORD, "name[Aromi], eatType[coffee sh") == (1, 0, 2)


def test_an_item_repeated_is_an_item_too_many() -> None:
    assert slot_counts("a[1]", "a[1], a[1], a[1]") == (1, 2, 0)


def test_json_items_are_compared_as_values() -> None:
    expected = '{"intent": "RateBook", "rating": 4, "best": "6"}'
    assert slot_counts(expected, '{"best": "6", "rating": 4, "intent": "ratebook "}') == (3, 0, 0)
    assert slot_counts(expected, '{"intent": "RateBook", "rating": "4", "best": "6"}') == (2, 1, 1)
    assert slot_counts("{}", "{}") == (0, 0, 0)
    assert slot_f1("{}", "{}") == 1


@pytest.mark.parametrize(
    "answer",
    [
        '{"intent": "RateBook"',
        '["intent"]',
        '{"intent": {"name": "RateBook"}}',
        '{"n": NaN}',
        "",
        '{"a":' * 100_000,
    ],
)
def test_an_answer_that_is_no_flat_json_object_has_no_item(answer: str) -> None:
    assert slot_counts('{"intent": "RateBook"}', answer) == (0, 0, 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "card_arrival",
        "see [1]: yes",
        "a[1]b[2]",
        "a[1],",
        "a[1]]",
        "[x]",
        "4",
        "[1, 2]",
        '{"a": [1]}',
    ],
)
def test_other_texts_are_no_records(text: str) -> None:
    assert slot_f1(text, text) is None


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=6))
def test_a_written_record_reads_back(items: list[tuple[str, str]]) -> None:
    folded = Counter((slot.strip().lower(), value.strip().lower()) for slot, value in items)
    assert read_brackets(", ".join(f"{slot}[{value}]" for slot, value in items)) == folded
    unique = dict(items)
    assert slot_f1(json.dumps(unique), json.dumps(dict(reversed(unique.items())))) == 1


def test_micro_f1_adds_counts_before_dividing() -> None:
    metric = slot_f1_metric([(3, 0, 0), (0, 1, 1)])
    assert metric.value() == pytest.approx(6 / 8)  # the mean of the rows would be 1/2


def test_a_long_text_without_items_is_read_in_linear_time() -> None:
    start = time.monotonic()
    assert slot_counts("x " * 200_000, "y[" * 200_000) is None
    assert time.monotonic() - start < 2
