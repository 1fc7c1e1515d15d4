"""Personal data is found by form and checksum, and what only looks like it is left."""

import time
from itertools import pairwise

import pytest

from luthier.screen.personal import KINDS, find_personal


def found(text: str) -> list[tuple[str, str]]:
    return [(span.kind, text[span.start : span.end]) for span in find_personal(text)]


@pytest.mark.parametrize(
    "kind, text",
    [
        ("email", "ann@example.org"),
        ("email", "a.b+c_d@mail.ex-ample.co.uk"),
        ("email", "o'neill@example.museum"),
        ("phone", "+49 30 1234567"),
        ("phone", "+1 (212) 555-0143"),
        ("phone", "+442079460958"),
        ("phone", "0049 30 1234567"),
        ("phone", "(212) 555-0143"),
        ("phone", "212-555-0143"),
        ("phone", "212.555.0143"),
        ("card", "4111111111111111"),
        ("card", "4111 1111 1111 1111"),
        ("card", "3782-822463-10005"),
        ("iban", "DE89370400440532013000"),
        ("iban", "DE89 3704 0044 0532 0130 00"),
        ("ip", "8.8.8.8"),
        ("ip", "2001:4860:4860::8888"),
    ],
)
def test_personal_data_is_found_whole(kind: str, text: str) -> None:
    assert found(text) == [(kind, text)]
    assert found(f"Write to {text}, please.") == [(kind, text)]
    assert found(f"({text})") == [(kind, text)]


@pytest.mark.parametrize(
    "text",
    [
        "@ann said hello",
        "user@localhost",
        "a decorator: @property def x",
        "in 1984 and 2001",
        "4111111111111112",
        "the number 1234567890123 has thirteen digits",
        "3.14159265358979",
        "DE89370400440532013001",
        "at 12:30:45 and 10:20",
        "127.0.0.1, 10.0.0.1, 192.168.1.1, ::1",
        "version 1.2.3 of 300.400.500.600",
        "1.2.3.4.5",
        "212-555-01434",
        "std::vector and a::b",
        "+ 1 + 2 + 3",
        "2024-11-25",
        "name[The Mill], area[riverside]",
    ],
)
def test_what_is_no_personal_data_is_left(text: str) -> None:
    assert found(text) == []


def test_only_the_kinds_asked_for_are_found() -> None:
    text = "ann@example.org, +49 30 1234567, 8.8.8.8"
    assert [span.kind for span in find_personal(text, ["phone"])] == ["phone"]
    assert [span.kind for span in find_personal(text)] == ["email", "phone", "ip"]


def test_what_overlaps_counts_once_and_the_longest_from_the_first_place_stays() -> None:
    text = "+49 4111111111111111@example.org"
    spans = find_personal(text)
    assert spans == sorted(spans, key=lambda span: span.start)
    assert all(left.end <= right.start for left, right in pairwise(spans))
    assert [span.kind for span in spans] == ["email"]


@pytest.mark.parametrize(
    "text",
    ["a" * 200_000, "1 " * 100_000, "x@" * 100_000, "a@a." * 50_000, "1:" * 100_000, "+1" * 100_000, "DE12 " * 40_000, "a.b" * 70_000],
    ids=lambda text: text[:5],
)  # fmt: skip
def test_the_time_grows_with_the_text_and_not_with_its_square(text: str) -> None:
    started = time.process_time()
    find_personal(text, KINDS)
    assert time.process_time() - started < 2
