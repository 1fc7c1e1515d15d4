"""Say things to the person without ever writing to standard output.

Stages do not print: they report through the `Listener` that a command hands them. `Silent` is the default, so a stage works
the same in a test, in a notebook and under a command.
"""

from typing import Protocol


class Listener(Protocol):
    """What a stage tells while it works."""

    def say(self, line: str) -> None:
        """A fact worth a line of its own."""

    def warn(self, line: str) -> None:
        """Something the person should know before trusting the result."""

    def progress(self, label: str, done: int, total: int, detail: str = "") -> None:
        """How far `label` is; `detail` holds the measured values of the moment."""


class Silent:
    """A listener that keeps nothing."""

    def say(self, line: str) -> None:
        pass

    def warn(self, line: str) -> None:
        pass

    def progress(self, label: str, done: int, total: int, detail: str = "") -> None:
        pass


class Recorder(Silent):
    """A listener that keeps what was said, for reports and tests."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.warnings: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def warn(self, line: str) -> None:
        self.warnings.append(line)
