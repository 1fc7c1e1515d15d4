"""Small files of every kind, whole and spoilt, for the tests of bad input."""

import gzip
import io
import json
import tarfile
import zipfile
from typing import Any

ROW = b'{"prompt": "Colour 1?", "completion": "green"}\n'


def lines(*rows: Any) -> bytes:
    """JSON lines; a row that is bytes already is written as it is."""
    return b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)


def behind_good(line: bytes) -> bytes:
    """A line behind a good one, so that it is line 2."""
    return ROW + line + b"\n"


def pair(prompt: Any = "a", completion: Any = "b", **more: Any) -> dict[str, Any]:
    """A prompt/completion row."""
    return {"prompt": prompt, "completion": completion, **more}


def columns(**values: Any) -> Any:
    """A table of Arrow, by its columns."""
    import pyarrow as arrow

    return arrow.table(values)


def parquet(table: Any) -> bytes:
    """A Parquet file of a table."""
    from pyarrow import parquet as format

    sink = io.BytesIO()
    format.write_table(table, sink)
    return sink.getvalue()


def arrow_file(table: Any) -> bytes:
    """An Arrow file of a table."""
    import pyarrow as arrow

    sink = io.BytesIO()
    with arrow.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def flipped(content: bytes, at: int) -> bytes:
    """The content with one byte changed."""
    return content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]


def tar(*members: tuple[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    """A tar file; members of another kind than files point to /etc/passwd."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "" if kind == tarfile.REGTYPE else "/etc/passwd"
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return sink.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    """A zip archive."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return sink.getvalue()


def encrypted(archive: bytes) -> bytes:
    """A zip archive that says of its first member that it is encrypted."""
    spoilt = bytearray(archive)
    for mark, flags_at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        spoilt[spoilt.index(mark) + flags_at] |= 1
    return bytes(spoilt)


def gzip_bomb() -> bytes:
    """408 KB that unpack to 420 MB of one letter."""
    return gzip.compress(b"a" * 10_000_000, 9) * 42
