"""Progress on a terminal, which is rewritten, and elsewhere, which is not; and a terminal that goes away."""

import errno
import io
import os

import pytest

from luthier.cli.screen import ERASE_LINE, PLAIN_EVERY_S, REWRITE_EVERY_S, Screen, progress_line


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """A time that only moves when told."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_a_line_says_how_far_it_is() -> None:
    assert progress_line("train", 120, 480, "loss 1.23") == "train 120/480 25%  loss 1.23"
    assert progress_line("read", 1234567, 0) == "read 1,234,567/0"


def test_on_a_terminal_one_line_is_rewritten_ten_times_a_second_and_ended() -> None:
    stream, clock = Terminal(), Clock()
    screen = Screen(stream, now=clock)
    screen.progress("train", 1, 3)
    screen.progress("train", 2, 3)  # too soon
    assert stream.getvalue() == f"{ERASE_LINE}train 1/3 33%"
    clock.seconds += REWRITE_EVERY_S
    screen.progress("train", 2, 3)
    screen.progress("train", 3, 3)  # the last is never too soon
    assert stream.getvalue().split(ERASE_LINE)[2:] == ["train 2/3 67%", "train 3/3 100%\n"]


def test_a_line_is_cut_to_the_terminal_and_stays_one_line() -> None:
    stream = Terminal()
    Screen(stream).progress("train", 1, 3, "a long\ndetail " * 20)
    shown = stream.getvalue().removeprefix(ERASE_LINE)
    assert len(shown) == 39
    assert "\n" not in shown


def test_a_fact_takes_the_place_of_an_open_line() -> None:
    stream = Terminal()
    screen = Screen(stream)
    screen.progress("train", 1, 3)
    screen.say("step 1: validation loss 2.0")
    screen.close()
    assert stream.getvalue() == f"{ERASE_LINE}train 1/3 33%{ERASE_LINE}step 1: validation loss 2.0\n"


def test_closing_ends_an_open_line_once() -> None:
    stream = Terminal()
    screen = Screen(stream)
    screen.progress("train", 1, 3)
    screen.close()
    screen.close()
    assert stream.getvalue().count("\n") == 1


def test_without_a_terminal_there_are_whole_lines_now_and_then_and_no_codes() -> None:
    stream, clock = io.StringIO(), Clock()
    screen = Screen(stream, now=clock)
    screen.progress("train", 1, 9)  # nothing is known yet
    for done in range(2, 9):
        clock.seconds += PLAIN_EVERY_S / 2
        screen.progress("train", done, 9)
    screen.progress("train", 9, 9)
    screen.warn("a row was cut")
    assert stream.getvalue().splitlines() == [
        "train 3/9 33%",
        "train 5/9 56%",
        "train 7/9 78%",
        "train 9/9 100%",
        "warning: a row was cut",
    ]
    assert "\x1b" not in stream.getvalue()
    assert "\r" not in stream.getvalue()


@pytest.mark.parametrize(("name", "value"), [("TERM", "dumb"), ("NO_COLOR", "1")])
def test_a_warning_has_colour_only_where_it_is_wanted(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    coloured, plain = Terminal(), Terminal()
    Screen(coloured).warn("careful")
    monkeypatch.setenv(name, value)
    Screen(plain).warn("careful")
    assert coloured.getvalue() == "\x1b[33mwarning:\x1b[0m careful\n"
    assert plain.getvalue() == "warning: careful\n"


def test_text_from_rows_commands_no_terminal() -> None:
    stream = Terminal()
    screen = Screen(stream)
    screen.say("row \x1b[2J")
    screen.progress("train", 1, 2, "\x1b]0;title\x07")
    assert "\x1b[2J" not in stream.getvalue()
    assert "\x1b]0" not in stream.getvalue()


@pytest.mark.parametrize("error", [errno.EIO, errno.EPIPE, errno.ENOSPC])
def test_a_terminal_that_is_closed_does_not_end_the_work(error: int) -> None:
    number = os.open(os.devnull, os.O_WRONLY)

    class Closed(io.TextIOWrapper):
        writes = 0

        def write(self, text: str) -> int:
            Closed.writes += 1
            raise OSError(error, os.strerror(error))

    screen = Screen(Closed(io.FileIO(number, "w", closefd=False)))
    screen.say("one")
    screen.warn("two")
    screen.progress("train", 2, 2)
    assert Closed.writes == 1, "it is asked once and left alone"


def test_a_terminal_that_lacks_a_letter_gets_it_spelt_out() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")  # held: it closes what lies below when it is dropped
    Screen(stream).say("Größe")
    assert raw.getvalue() == b"Gr\\xf6\\xdfe\n"
