"""Signals set a flag and no more; a second Ctrl-C gives up; what handled them before does so again afterwards."""

import os
import signal
from collections.abc import Iterator

import pytest

from luthier.floor.errors import Interrupted, SavedAndStopped
from luthier.floor.stop import StopFlag, listen_for_stop

HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def send(number: int) -> None:
    """A signal to this process; Python runs its handler before the next line."""
    os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def handlers_of_the_test_run() -> Iterator[None]:
    """What pytest had set, whatever a test does."""
    before = {number: signal.getsignal(number) for number in HEARD}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    "number, kind, exit_code", [(signal.SIGINT, Interrupted, 130), (signal.SIGTERM, SavedAndStopped, 75)]
)
def test_a_signal_is_remembered_and_decides_how_the_program_ends(
    number: int, kind: type[Exception], exit_code: int
) -> None:
    with listen_for_stop(StopFlag()) as stop:
        assert not stop.is_set
        stop.check("nothing was asked", fix="")
        send(number)
        assert stop.is_set
        with pytest.raises(kind) as caught:
            stop.check("stopped after step 3", fix="luthier train --resume RUN")
    assert caught.value.exit_code == exit_code  # type: ignore[attr-defined]
    assert "stopped after step 3" in str(caught.value)


def test_a_second_ctrl_c_gives_up_at_once() -> None:
    with listen_for_stop(StopFlag()) as stop, pytest.raises(KeyboardInterrupt):
        send(signal.SIGINT)
        assert stop.is_set
        send(signal.SIGINT)


def test_a_second_sigterm_changes_nothing() -> None:
    with listen_for_stop(StopFlag()) as stop:
        send(signal.SIGTERM)
        send(signal.SIGTERM)
        assert stop.signal_number == signal.SIGTERM


def test_a_ctrl_c_after_a_sigterm_still_waits_for_the_save() -> None:
    with listen_for_stop(StopFlag()) as stop:
        send(signal.SIGTERM)
        send(signal.SIGINT)
        assert stop.is_set


def test_a_closed_terminal_stops_nothing() -> None:
    with listen_for_stop(StopFlag()) as stop:
        send(signal.SIGHUP)
        assert not stop.is_set


def test_the_handlers_before_are_back_after_the_block_however_it_ends() -> None:
    heard: list[int] = []
    for number in HEARD:
        signal.signal(number, lambda got, _: heard.append(got))
    with pytest.raises(KeyboardInterrupt), listen_for_stop(StopFlag()):
        raise KeyboardInterrupt
    for number in HEARD:
        send(number)
    assert heard == list(HEARD)
