"""Show progress on standard error: one line that is rewritten on a terminal, a plain line now and then elsewhere."""

import os
import shutil
import sys
import time
from collections.abc import Callable
from typing import TextIO

from luthier.cli.output import silence, visible

REWRITE_EVERY_S = 0.1
PLAIN_EVERY_S = 5.0
YELLOW, RESET, ERASE_LINE = "\x1b[33m", "\x1b[0m", "\r\x1b[K"


class Screen:
    """The listener of a command. A standard error that is gone silences it; the work goes on."""

    def __init__(self, stream: TextIO | None = None, *, now: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream or sys.stderr
        self._now = now
        self._is_terminal = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._has_colour = self._is_terminal and not os.environ.get("NO_COLOR")
        self._is_gone = False
        self._is_line_open = False
        self._label = ""
        self._next_at = 0.0

    def say(self, line: str) -> None:
        """A fact worth a line of its own."""
        self._put_line(visible(line))

    def warn(self, line: str) -> None:
        """A line that starts with `warning:`."""
        head = f"{YELLOW}warning:{RESET}" if self._has_colour else "warning:"
        self._put_line(f"{head} {visible(line)}")

    def progress(self, label: str, done: int, total: int, detail: str = "") -> None:
        """How far `label` is; shown at most ten times a second, or every five seconds where nothing can be rewritten."""
        now = self._now()
        is_last = done >= total
        if label == self._label and now < self._next_at and not is_last:
            return
        is_new = label != self._label
        self._label = "" if is_last else label
        self._next_at = now + (REWRITE_EVERY_S if self._is_terminal else PLAIN_EVERY_S)
        line = visible(progress_line(label, done, total, detail)).replace("\n", " ")
        if not self._is_terminal:
            if (
                is_new and not is_last
            ):  # nothing is known yet, and most labels are done before the next line is due
                return
            self._write(line + "\n")
            return
        self._write(ERASE_LINE + line[: max(shutil.get_terminal_size().columns - 1, 1)])
        self._is_line_open = True
        if is_last:
            self.close()

    def close(self) -> None:
        """End a line that is still being rewritten."""
        if self._is_line_open:
            self._write("\n")
            self._is_line_open = False

    def _put_line(self, line: str) -> None:
        if self._is_line_open:
            self._write(ERASE_LINE)
            self._is_line_open = False
        self._write(line + "\n")

    def _write(self, text: str) -> None:
        if self._is_gone:
            return
        try:
            try:
                self._stream.write(text)
            except UnicodeEncodeError:  # a terminal that is not UTF-8
                self._stream.write(text.encode("ascii", "backslashreplace").decode("ascii"))
            self._stream.flush()
        except OSError:  # the terminal was closed, or its reader: a run must outlive both
            self._is_gone = True
            silence(self._stream)


def progress_line(label: str, done: int, total: int, detail: str = "") -> str:
    """`train 120/480 25% loss 1.23`."""
    share = f" {done / total:.0%}" if total > 0 else ""
    line = f"{label} {done:,}/{total:,}{share}"
    return f"{line}  {detail}" if detail else line
