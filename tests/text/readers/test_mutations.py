"""Small valid files of every format, with their bytes cut, flipped, doubled and put together anew: rows or faults with a place, never anything else.

Seeded, so that what fails once fails again: the test's name says the format and the number of the file.
"""

import bz2
import gzip
import io
import json
import lzma
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luthier.data.convert.stage import Request, convert
from luthier.floor.errors import DataError, LuthierError
from luthier.text.rows import read_rows
from tests.data.convert.test_hostile_records import SEEDS
from tests.data.spoilt_files import lines, tar, zipped
from tests.text.readers import test_documents as documents
from tests.text.readers import test_tfrecord as tfrecord
from tests.text.readers.reading import read

pyarrow = pytest.importorskip("pyarrow", reason="the extra formats is not installed")
zstd = pytest.importorskip("backports.zstd", reason="the extra formats is not installed")
pytestmark = pytest.mark.slow

FILES = 300
DOCUMENTS = 40  # of each kind: another process reads them, and is started again when a file was the end of it
ROWS: list[Any] = [{"prompt": f"What is {n}?", "completion": f"caf\u00e9 {n * 7919}"} for n in range(20)]
TOKENS = (
    b"\0",
    b"\xff\xfe",
    b'"',
    b"\\",
    b"{",
    b"]",
    b",",
    b"\n",
    b"\r",
    b"\xed\xa0\x80",
    b"1e999",
    b"\\ud800",
    b"\xff" * 8,
)


def parquet() -> bytes:
    from pyarrow import parquet as format

    sink = io.BytesIO()
    format.write_table(pyarrow.Table.from_pylist(ROWS), sink)
    return sink.getvalue()


def arrow(new: Callable[..., Any]) -> bytes:
    table, sink = pyarrow.Table.from_pylist(ROWS), io.BytesIO()
    with new(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def examples() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        messages = [tfrecord.example({"text": [row["prompt"]]}) for row in ROWS]
        return tfrecord.records_of(Path(folder) / "r.tfrecord", messages).read_bytes()


JSON_LINES = lines(*ROWS)
TABLE = "".join(
    f'{row["prompt"]},"{row["completion"]}"\r\n'
    for row in [{"prompt": "prompt", "completion": "completion"}, *ROWS]
)
SHARD = tar(
    *((f"{n}.{name}.txt", row[name].encode()) for n, row in enumerate(ROWS) for name in row),
    ("9.json", b'{"x": 1}'),
)
WHOLE: dict[str, Callable[[], bytes]] = {
    "r.jsonl": lambda: JSON_LINES,
    "r.json": lambda: json.dumps(ROWS, indent=1).encode(),
    "r.csv": lambda: TABLE.encode(),
    "r.tsv": lambda: TABLE.replace(",", "\t").encode(),
    "r.parquet": parquet,
    "r.arrow": lambda: arrow(pyarrow.ipc.new_file),
    "s.arrow": lambda: arrow(pyarrow.ipc.new_stream),
    "r.txt": lambda: "Ein Text \u00fcber Holz.\n".encode() * 20,
    "r.tar": lambda: SHARD,
    "r.tfrecord": examples,
    "r.jsonl.gz": lambda: gzip.compress(JSON_LINES),
    "r.jsonl.xz": lambda: lzma.compress(JSON_LINES),
    "r.jsonl.bz2": lambda: bz2.compress(JSON_LINES),
    "r.jsonl.zst": lambda: zstd.compress(JSON_LINES),
    "r.tar.gz": lambda: gzip.compress(SHARD),
}  # fmt: skip
PAPERS: dict[str, Callable[[], bytes]] = {
    "r.html": documents.PAGE.encode,
    "r.pdf": lambda: documents.pdf("The top is of spruce."),
    "r.docx": documents.word,
    "r.warc": lambda: documents.warc([("response", "text/html", documents.PAGE.encode())], packed=False),
    "r.warc.gz": lambda: documents.warc([("response", "text/html", documents.PAGE.encode())], packed=True),
}  # fmt: skip


def spoil(content: bytes, draw: random.Random) -> bytes:
    """The content with one to four things done to it."""
    for _ in range(draw.randint(1, 4)):
        at, to = sorted(draw.choices(range(len(content) + 1), k=2))
        done = draw.randrange(6)
        if done == 0:
            content = content[:at]
        elif done == 1:
            content = content[:at] + bytes([draw.randrange(256)]) + content[at + 1 :]
        elif done == 2:
            content = content[:at] + draw.choice(TOKENS) + content[at:]
        elif done == 3:
            content = content[:at] + content[to:]
        elif done == 4:
            content = content[:to] + content[at:]
        else:
            content = content[to:] + content[at:to]
    return content


def assert_named(path: Path) -> None:
    """The reader, and the rows that training would see, end in rows or in a fault that names the file."""
    try:
        read(path)
    except LuthierError as fault:
        assert str(path) in fault.where, fault.render()
    try:
        list(read_rows([path], "auto"))
    except DataError as fault:
        assert str(path) in fault.where, fault.render()
        assert fault.what


@pytest.mark.parametrize("name", WHOLE)
def test_a_spoilt_file_is_rows_or_a_fault_with_a_place(name: str, tmp_path: Path) -> None:
    whole, path = WHOLE[name](), tmp_path / name
    path.write_bytes(whole)
    assert read(path)[0], "it is read before it is spoilt"
    assert not read(path)[1]
    for number in range(FILES):
        path.write_bytes(spoil(whole, random.Random(f"{name} {number}")))
        assert_named(path)


@pytest.mark.parametrize("name", PAPERS)
def test_a_spoilt_document_is_text_or_a_fault_with_a_place(name: str, tmp_path: Path) -> None:
    whole, path = PAPERS[name](), tmp_path / name
    path.write_bytes(whole)
    assert read(path)[0], "it is read before it is spoilt"
    for number in range(DOCUMENTS):
        path.write_bytes(spoil(whole, random.Random(f"{name} {number}")))
        assert_named(path)


EXPORTS = {
    **{f"{name}.json": json.dumps(records).encode() for name, records in SEEDS.items()},
    **{f"{name}.jsonl": lines(*records) for name, records in SEEDS.items()},
    "export.zip": zipped({"conversations.json": json.dumps(SEEDS["chatgpt"]).encode(), "chat.html": b"x"}),
}


@pytest.mark.parametrize("name", EXPORTS)
def test_a_spoilt_export_is_converted_or_refused_with_a_place(name: str, tmp_path: Path) -> None:
    whole, path, output = EXPORTS[name], tmp_path / name, tmp_path / "out" / "rows.jsonl"
    path.write_bytes(whole)
    assert convert(Request(path, output)).rows, "it is converted before it is spoilt"
    for number in range(FILES // 3):
        path.write_bytes(spoil(whole, random.Random(f"{name} {number}")))
        output.unlink(missing_ok=True)
        try:
            rows = convert(Request(path, output, overwrite=True)).rows
            assert rows == len(list(read_rows([output], "auto")))
        except DataError as fault:
            assert str(path) in fault.where, fault.render()
            assert not output.exists(), "nothing is written"
        if not name.endswith(".zip"):
            assert_named(path)
