"""Write to the terminal: results to standard output, talk to standard error.

A reader that went away (`luthier runs | head -1`) ends the writing, never the work; a result that cannot be written for another
reason (`> /dev/full`) is a fault, talk that cannot be is not.
"""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from luthier.floor.errors import EnvironmentFault

RESET = "\x1b[0m"


def show(text: str) -> None:
    """Write a result to standard output. Raises EnvironmentFault if the disk behind it is full."""
    _show_safe(visible(text))


def show_part(text: str) -> None:
    """Write a part of a line to standard output, at once."""
    _show_safe(visible(text), end="")


def show_painted(pieces: Iterable[tuple[str, str]]) -> None:
    """Write a result of pieces of text, each with the code of its colour or none; only codes given here reach the terminal."""
    _show_safe("".join(_painted(visible(text), code) for text, code in pieces))


def _painted(text: str, code: str) -> str:
    """Each line by itself, so that a background ends where its text does."""
    if not code:
        return text
    return "\n".join(f"{code}{line}{RESET}" if line else "" for line in text.split("\n"))


def _show_safe(text: str, *, end: str = "\n") -> None:
    fault = _write(sys.stdout, text + end)
    if fault is not None and not isinstance(fault, BrokenPipeError):
        raise EnvironmentFault(
            "env-disk",
            f"cannot write the result: {fault.strerror}",
            where="standard output",
            why="The work itself is done, and its report lies in the run.",
            fix="Make room, then repeat the command; what is done already is not done again.",
        )


def show_json(value: Any) -> None:
    """Write the one object of `--json` to standard output. Figures that are not finite become null."""
    show(json_text(value))


def json_text(value: Any, *, indent: int | None = 2) -> str:
    """A value as `--json` writes it: what no terminal should get is spelt as JSON spells it."""
    text = json.dumps(_finite(value), indent=indent, ensure_ascii=False, allow_nan=False)
    return "".join(f"\\u{ord(sign):04x}" if sign != "\n" and not _is_shown(sign) else sign for sign in text)


def tell(text: str) -> None:
    """Write talk to standard error."""
    _write(sys.stderr, visible(text) + "\n")


def _write(stream: TextIO, text: str) -> OSError | None:
    """What the system refused, if it did; the stream is silent from then on."""
    try:
        try:
            stream.write(text)
        except UnicodeEncodeError:  # a terminal that is not UTF-8
            encoding = stream.encoding or "ascii"
            stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except OSError as fault:
        silence(stream)
        return fault
    return None


def silence(stream: TextIO) -> None:
    """Send a stream whose reader is gone to nowhere, else what is still buffered raises again at exit."""
    # As the Python manual advises: docs.python.org/3/library/signal.html, note on SIGPIPE.
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def visible(text: str) -> str:
    """Text with control characters spelt out: file names, rows and answers may hold terminal commands."""
    return "".join(character if _is_shown(character) else _spelt(character) for character in text)


def _is_shown(character: str) -> bool:
    code = ord(character)
    return character in "\n\t" or not (code < 32 or 127 <= code < 160 or 0xD800 <= code <= 0xDFFF)


def _spelt(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def table(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Lines of columns as wide as their longest cell; `right` are the columns that end flush. The first row is the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for number, row in enumerate(rows):
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
        if number == 0:
            lines.append("  ".join("-" * width for width in widths))
    return "\n".join(lines)


def figure(value: float) -> str:
    """A metric with three decimals, or with four digits where it is large."""
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.4g}"
