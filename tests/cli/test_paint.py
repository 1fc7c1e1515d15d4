"""Marks cannot be mistaken for text, and text cannot pass for a mark, a colour or a command to the terminal."""

import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from luthier.cli.paint import Part, between_signs, choose_signs, has_colour, spelt, spelt_in_line

TEXTS = st.text(alphabet="[]<>{}()#12a\n", max_size=12)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def read_back(shown: str, signs: tuple[str, str]) -> list[tuple[str, bool]]:
    """The parts of a marked text, found by the signs alone."""
    parts = []
    while shown:
        before, opening, rest = shown.partition(signs[0])
        if before:
            parts.append((before, False))
        marked, _, shown = rest.partition(signs[1])
        if opening:
            parts.append((marked, True))
    return parts


@given(texts=st.lists(TEXTS.filter(bool), max_size=6), first_is_marked=st.booleans())
@example(texts=["[<{(#1", "[#1["], first_is_marked=False)
@example(texts=["a[", "b]"], first_is_marked=True)
def test_marked_text_can_be_read_back_whatever_it_holds(texts: list[str], first_is_marked: bool) -> None:
    parts = [(text, (place % 2 == 0) == first_is_marked) for place, text in enumerate(texts)]
    signs = choose_signs(texts)
    shown = between_signs([Part(*part) for part in parts], signs)
    assert read_back(shown, signs) == parts


def test_square_brackets_are_taken_unless_the_text_has_them() -> None:
    assert choose_signs(["plain"]) == ("[[", "]]")
    assert choose_signs(["a list: [1]"]) == ("<<", ">>")
    assert choose_signs(["[<{(", "#1"]) == ("[#2[", "]#2]")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("a\rb", "a\\rb"),
        ("\u202eabc\u200b", "\\u202eabc\\u200b"),
        ("\u2028", "\\u2028"),
        ("gr\u00fc\u00df\n\t\U0001f600", "gr\u00fc\u00df\n\t\U0001f600"),
    ],
)
def test_what_a_terminal_obeys_is_spelt_out(text: str, shown: str) -> None:
    assert spelt(text) == shown


@given(left=st.text(alphabet="\\nt\n\t\x1bx1b"), right=st.text(alphabet="\\nt\n\t\x1bx1b"))
def test_different_texts_look_different_in_a_line(left: str, right: str) -> None:
    assert (spelt_in_line(left) == spelt_in_line(right)) == (left == right)
    assert "\n" not in spelt_in_line(left)


def test_colours_go_to_terminals_only_and_not_where_they_are_unwanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert has_colour(Terminal())
    assert not has_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not has_colour(Terminal())
    monkeypatch.setenv("NO_COLOR", "")
    assert has_colour(Terminal()), "an empty NO_COLOR is none"
    monkeypatch.setenv("TERM", "dumb")
    assert not has_colour(Terminal())
