"""End a computation that does not end by itself: a regular expression, a template, whatever a person or a file brought.

The kernel's timer of the process's own seconds (ITIMER_VIRTUAL) is used, so that a busy machine shortens nobody's time. Python
looks at signals between bytecodes, and its regular expressions do so while they search; one long step in C is not cut short.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Overdue(Exception):
    """The block took longer than it may."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise Overdue in the block once it has computed for so long. For the main thread; blocks do not nest."""

    def on_signal(signal_number: int, frame: FrameType | None) -> None:
        raise Overdue

    before = signal.signal(signal.SIGVTALRM, on_signal)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
