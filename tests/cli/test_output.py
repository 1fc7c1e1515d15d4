"""What goes to the terminal: results and talk apart, control characters spelt out, streams that refuse."""

import errno
import io
import json
import math
import os
import sys

import pytest

from luthier.cli.output import figure, show, show_json, show_painted, table, tell, visible
from luthier.floor.errors import EnvironmentFault


class RefusingStream(io.TextIOWrapper):
    """A stream whose device refuses every write."""

    def __init__(self, number: int, *, error: int) -> None:
        super().__init__(io.FileIO(number, "w", closefd=False), encoding="utf-8")
        self._error = error

    def write(self, text: str) -> int:
        raise OSError(self._error, os.strerror(self._error))


@pytest.fixture
def descriptor() -> int:
    """A descriptor of our own, which being silenced may point to nowhere."""
    return os.open(os.devnull, os.O_WRONLY)


def test_results_and_talk_go_to_different_sides(capsys: pytest.CaptureFixture[str]) -> None:
    show("a result")
    tell("some talk")
    assert capsys.readouterr() == ("a result\n", "some talk\n")


def test_figures_that_are_not_finite_become_null(capsys: pytest.CaptureFixture[str]) -> None:
    show_json({"loss": math.nan, "bounds": (math.inf, -math.inf, 1.5), "name": "Größe"})
    out = capsys.readouterr().out
    assert json.loads(out) == {"loss": None, "bounds": [None, None, 1.5], "name": "Größe"}
    assert "Größe" in out


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x1b[2J", r"\x1b[2J"),
        ("one\rtwo", r"one\rtwo"),
        ("\x9b31m", r"\x9b31m"),
        ("half \ud800", r"half \ud800"),
        ("tab\tand\nline, Größe, 漢字", "tab\tand\nline, Größe, 漢字"),
    ],
)
def test_text_from_strangers_commands_no_terminal(text: str, seen: str) -> None:
    assert visible(text) == seen


def test_a_terminal_that_lacks_a_letter_gets_it_spelt_out(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    show("Größe")
    assert raw.getvalue() == b"Gr\\xf6\\xdfe\n"


def test_a_reader_that_went_away_ends_the_writing_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, descriptor: int
) -> None:
    monkeypatch.setattr(sys, "stdout", RefusingStream(descriptor, error=errno.EPIPE))
    show("nobody reads this")


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_a_result_that_cannot_be_written_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, descriptor: int, error: int
) -> None:
    monkeypatch.setattr(sys, "stdout", RefusingStream(descriptor, error=error))
    with pytest.raises(EnvironmentFault, match=os.strerror(error)) as caught:
        show("a result")
    assert (caught.value.code, caught.value.where) == ("env-disk", "standard output")


@pytest.mark.parametrize("error", [errno.EPIPE, errno.ENOSPC, errno.EIO])
def test_talk_that_cannot_be_written_is_none(
    monkeypatch: pytest.MonkeyPatch, descriptor: int, error: int
) -> None:
    monkeypatch.setattr(sys, "stderr", RefusingStream(descriptor, error=error))
    tell("some talk")


def test_a_table_has_columns_as_wide_as_their_longest_cell() -> None:
    rows = [("metric", "base"), ("loss", "12.5"), ("exact_match", "0")]
    assert table(rows, right=(1,)).splitlines() == [
        "metric       base",
        "-----------  ----",
        "loss         12.5",
        "exact_match     0",
    ]


@pytest.mark.parametrize(
    ("value", "shown"), [(0.5, "0.500"), (-1.2345, "-1.234"), (123.456, "123.5"), (1e9, "1e+09")]
)
def test_a_figure_has_three_decimals_unless_it_is_large(value: float, shown: str) -> None:
    assert figure(value) == shown


def test_json_with_control_characters_is_still_json(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "\x1b[2J\x7f\x9b31m\n\udc80"
    show_json({"text": hostile})
    out = capsys.readouterr().out
    assert json.loads(out) == {"text": hostile}
    assert not any(sign in out for sign in "\x1b\x7f\x9b\udc80")


def test_only_the_colours_that_were_given_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show_painted([("a\x1b[31m", ""), ("b\n\nc\x9b", "\x1b[42m")])
    assert capsys.readouterr().out == "a\\x1b[31m\x1b[42mb\x1b[0m\n\n\x1b[42mc\\x9b\x1b[0m\n"
