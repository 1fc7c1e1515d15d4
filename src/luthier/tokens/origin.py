"""Where a row came from, as text and as a pair that a token store keeps: `file:line`, or `file#row N` where a file has no lines.

In the pair, `#row` stays with the name of the source, so that the number alone is kept with each row.
"""

import re

ROW = "#row"
ORIGIN = re.compile(r"(?P<source>.+?)(?::| (?<=#row ))(?P<number>\d+)", re.DOTALL)


def split_origin(origin: str) -> tuple[str, int] | None:
    """The source and the number of the line or row in it; None if the text is no origin."""
    found = ORIGIN.fullmatch(origin)
    return (found["source"], int(found["number"])) if found and found["number"].isascii() else None


def join_origin(source: str, number: int) -> str:
    """The inverse of `split_origin`."""
    return f"{source}{' ' if source.endswith(ROW) else ':'}{number}"


def file_of(source: str) -> str:
    """The file that a source is, or that its rows lie in."""
    return source.removesuffix(ROW)
