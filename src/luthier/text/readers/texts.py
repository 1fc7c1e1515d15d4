"""Plain text and Markdown: a file is one row."""

from collections.abc import Iterator
from pathlib import Path

from luthier.floor.units import format_bytes
from luthier.text.json_lines import HEAD_BYTES, UTF8_BOM, check_head, decode_line
from luthier.text.problems import LineFault, Problems
from luthier.text.readers.compressed import open_stream
from luthier.text.readers.record import Record

# A long novel has 3 MB. A corpus in one file would become one row, of which a training sees the beginning.
LONGEST_TEXT_BYTES = 32 * 2**20


def read_text(path: Path, problems: Problems) -> Iterator[Record]:
    """One record, `text`, with the file's characters as they are; a byte order mark is left out."""
    try:
        with open_stream(path) as file:
            content = file.read(LONGEST_TEXT_BYTES + 1)
        yield f"{path}:1", {"text": text_of(content, path)}
    except LineFault as fault:
        problems.add(str(path), fault)


def text_of(content: bytes, path: Path) -> str:
    """The text of a whole file; raises LineFault if it is none, or longer than a row may be."""
    if len(content) > LONGEST_TEXT_BYTES:
        limit = format_bytes(LONGEST_TEXT_BYTES)
        raise LineFault(
            "data-line", f"the text is longer than {limit}, and a file is one row; cut it into several files"
        )
    check_head(content[:HEAD_BYTES], path)
    if (nul_at := content.find(b"\0")) >= 0:
        raise LineFault("data-enc", f"a NUL byte at byte {nul_at + 1}; the file is damaged or no text")
    return decode_line(content.removeprefix(UTF8_BOM), path)
