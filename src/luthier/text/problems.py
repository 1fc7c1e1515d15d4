"""Gather the faults of many rows, so that one message lists them together instead of one a run."""

from collections import Counter
from typing import Any

from luthier.floor.errors import DataError

MOST_PROBLEMS_SHOWN = 20


class LineFault(Exception):
    """What is wrong with a row: the fault's word, one phrase, and what to type if that is special."""

    def __init__(self, code: str, what: str, *, fix: str = "") -> None:
        super().__init__(what)
        self.code = code
        self.what = what
        self.fix = fix


class Problems:
    """The first faults in full, the rest as a number."""

    def __init__(self) -> None:
        self.count = 0
        self.passed_over: Counter[str] = Counter()
        """What readers leave unread on purpose, by kind."""
        self._first: list[tuple[str, LineFault]] = []

    def add(self, origin: str, fault: LineFault) -> None:
        """Keep the fault of the row that stands at `origin` (file:line)."""
        self.count += 1
        if len(self._first) < MOST_PROBLEMS_SHOWN:
            self._first.append((origin, fault))

    def raise_if_any(self) -> None:
        """Raise DataError with the code and place of the first fault, all of them listed."""
        if not self.count:
            return
        origin, fault = self._first[0]
        fix = fault.fix or "Mend what is listed, then repeat the command."
        if self.count == 1:
            raise DataError(fault.code, fault.what, where=origin, fix=fix)
        more = self.count - len(self._first)
        listed = [f"{place}: {found.what}" for place, found in self._first]
        raise DataError(
            fault.code,
            f"the data has {self.count} faults",
            where=origin,
            problems=[*listed, f"... and {more} more"] if more else listed,
            fix=fix,
        )


def describe(value: Any) -> str:
    """A value of JSON or of a table for a message: its type, and its content where that is short."""
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else value[:37] + "...")
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if value is None or isinstance(value, bool):  # asked before numbers: to Python, True is 1
        return str(value).lower().replace("none", "null")
    if isinstance(value, bytes):
        return f"{len(value)} raw bytes"
    return f"the {'number' if isinstance(value, (int, float)) else type(value).__name__} {value}"[:80]
