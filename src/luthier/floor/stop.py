"""Remember that the person or the machine asked the run to stop, and let long work look at it.

A signal handler only sets a flag; loops poll it where stopping is safe (an optimizer step, a batch of an evaluation, a block
of rows), so a save is never entered twice. A second Ctrl-C gives up at once: what was saved before stays valid.
A terminal that is closed (SIGHUP) stops nothing: a run is a process that writes files, whoever watches.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from luthier.floor.errors import Interrupted, LuthierError, SavedAndStopped


class StopFlag:
    """Which signal asked to stop, if any."""

    def __init__(self) -> None:
        self.signal_number: int | None = None

    @property
    def is_set(self) -> bool:
        return self.signal_number is not None

    def set(self, signal_number: int) -> None:
        self.signal_number = signal_number

    def error(self, what: str, *, fix: str) -> LuthierError:
        """The error to raise once everything is saved: 75 after SIGTERM, 130 after Ctrl-C."""
        if self.signal_number == signal.SIGTERM:
            return SavedAndStopped("saved", what, fix=fix)
        return Interrupted("interrupted", what, fix=fix)

    def check(self, what: str, *, fix: str) -> None:
        """Raise if a stop was asked for; for work that keeps nothing half done."""
        if self.is_set:
            raise self.error(what, fix=fix)


@contextmanager
def listen_for_stop(flag: StopFlag) -> Iterator[StopFlag]:
    """Let SIGINT and SIGTERM set `flag` inside the block, and SIGHUP do nothing; the handlers before are put back after it."""

    def on_signal(signal_number: int, frame: FrameType | None) -> None:
        if signal_number == signal.SIGINT and flag.signal_number == signal.SIGINT:
            raise KeyboardInterrupt
        flag.set(signal_number)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
