"""Where a row came from, as text and as a pair that a token store keeps: `file:line`, or `file#row N` where a file has no lines.

In the pair, `#row` stays with the name of the source, so that the number alone is kept with each row.
"""

ROW = "#row"


def split_origin(origin: str) -> tuple[str, int] | None:
    """The source and the number of the line or row in it; None if the text is no origin."""
    source, _, number = origin.rpartition(":")
    if not _is_count(number):
        source, _, number = origin.rpartition(" ")
        if not source.endswith(ROW) or not _is_count(number):
            return None
    return (source, int(number)) if source else None


def join_origin(source: str, number: int) -> str:
    """The inverse of `split_origin`."""
    return f"{source}{' ' if source.endswith(ROW) else ':'}{number}"


def file_of(source: str) -> str:
    """The file that a source is, or that its rows lie in."""
    return source.removesuffix(ROW)


def _is_count(text: str) -> bool:
    return text.isdecimal() and text.isascii()
