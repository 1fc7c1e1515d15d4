"""Find regular expressions of the operator's, within bounds of time, also in a text that still grows.

Searching is done by the library `regex`, which can give up after a time and tell a partial match: that the search came to the end of
the text and might have gone on. A pattern followed by something that never comes tells it for every way on which the pattern reaches the end, also
behind a match that is whole.

A sign of no width (a word border) at the very end is judged without the character that follows. So the question is asked of the text
without its last character as well: no border is wrongly denied at both. That holds for `\\b`, `^` and `$`; it does not for `\\B`
and for look-around, which are refused.
"""

import importlib
import re
from collections.abc import Callable, Sequence
from typing import Any

from luthier.floor.errors import EnvironmentFault, UsageError
from luthier.screen.spans import Span
from luthier.serve.filter.seeker import SearchFailed

# No text that came as UTF-8 holds half of a surrogate pair.
_NEVER = r"\p{Cs}"
_ESCAPED = re.compile(r"\\.", re.DOTALL)
_LOOK_AROUND = ("(?=", "(?!", "(?<=", "(?<!")


class PatternSeeker:
    """Finds the matches of one pattern. Raises UsageError (cfg-range) if it is none, matches nothing at all or cannot be used on streams."""

    def __init__(self, pattern: str, *, timeout_s: float, where: str) -> None:
        _check(pattern, where)
        regex = _load_regex()
        try:
            self._whole = regex.compile(pattern)
            self._open = regex.compile(f"(?:{pattern}){_NEVER}")
        except regex.error as fault:
            raise _refused(pattern, str(fault), where) from fault
        self._timeout_s = timeout_s
        if self._whole.fullmatch("", timeout=timeout_s):
            raise _refused(pattern, "it matches where there is nothing", where)

    def find(self, text: str, start: int = 0) -> list[Span]:
        """Every match that is not empty."""
        matches = self._in_time(lambda: list(self._whole.finditer(text, start, timeout=self._timeout_s)))
        return [Span("pattern", *match.span()) for match in matches if match.end() > match.start()]

    def open_from(self, text: str, start: int = 0) -> int:
        """Where the first search begins that the end of the text broke off; before the last character at the latest."""
        return min(self._broken_off(text, start, end) for end in (len(text), max(start, len(text) - 1)))

    def _broken_off(self, text: str, start: int, end: int) -> int:
        # A search that begins at the end is always broken off.
        match = self._in_time(
            lambda: self._open.search(text, start, end, partial=True, timeout=self._timeout_s)
        )
        return match.start() if match else end

    def _in_time(self, search: Callable[[], Any]) -> Any:
        try:
            return search()
        except TimeoutError as fault:
            raise SearchFailed(
                f"the pattern {self._whole.pattern!r} took over {self._timeout_s:g} s"
            ) from fault


def pattern_seekers(patterns: Sequence[str], *, timeout_s: float) -> list[PatternSeeker]:
    """One a pattern."""
    return [
        PatternSeeker(pattern, timeout_s=timeout_s, where="serve.filter.patterns") for pattern in patterns
    ]


def _check(pattern: str, where: str) -> None:
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as fault:
        raise _refused(pattern, f"it is no regular expression: {fault}", where) from fault
    bare = _ESCAPED.sub(lambda match: match[0] if match[0] == r"\B" else "__", pattern)
    for sign in (*_LOOK_AROUND, r"\B"):
        if sign in bare:
            raise _refused(pattern, f"{sign} asks for what stands beside a match", where)


def _refused(pattern: str, why: str, where: str) -> UsageError:
    return UsageError(
        "cfg-range",
        f"the pattern {pattern!r} cannot be used: {why}",
        where=where,
        why="Text that was sent cannot be taken back, so a pattern must be decided by what it matches.",
        fix="Write the pattern without it; \\b, ^ and $ may stay.",
    )


def _load_regex() -> Any:
    try:
        return importlib.import_module("regex")
    except ModuleNotFoundError as fault:
        what = "patterns need the library regex, which is not installed"
        fix = "Type: pip install 'luthier[serve]'"
        raise EnvironmentFault("env-extra", what, where="serve.filter.patterns", fix=fix) from fault
