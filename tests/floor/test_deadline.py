"""A computation that does not end is ended, and one that does is left alone."""

import re
import signal
import time

import pytest

from luthier.floor.deadline import Overdue, within


def test_a_loop_and_a_regular_expression_that_do_not_end_are_ended() -> None:
    started = time.process_time()
    with pytest.raises(Overdue), within(0.1):
        while True:
            pass
    with pytest.raises(Overdue), within(0.1):
        re.search(r"(a+)+$", "a" * 60 + "b")
    assert time.process_time() - started < 2


def test_what_ends_is_left_alone_and_waiting_costs_nothing() -> None:
    before = signal.getsignal(signal.SIGVTALRM)
    with within(0.05):
        time.sleep(0.2)
    assert signal.getsignal(signal.SIGVTALRM) == before
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)


def test_a_fault_of_the_block_goes_on_and_the_timer_is_off() -> None:
    with pytest.raises(KeyError), within(5):
        raise KeyError("x")
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)
