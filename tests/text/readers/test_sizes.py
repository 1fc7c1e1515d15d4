"""What a file unpacks to is told before it is read."""

import gzip
from pathlib import Path

import pyarrow
from pyarrow import parquet

from luthier.text.readers.sizes import guess_unpacked_bytes

TEXTS = [f"row {number} " + "the same words again " * 40 for number in range(2000)]


def test_a_parquet_file_counts_with_what_its_groups_unpack_to(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.table({"text": TEXTS}), path, compression="zstd", row_group_size=500)
    characters = sum(map(len, TEXTS))
    assert path.stat().st_size < characters / 10
    assert 0.9 * characters < guess_unpacked_bytes(path) < 1.3 * characters


def test_what_cannot_be_read_counts_with_its_own_bytes(tmp_path: Path) -> None:
    for content in (b"", b"PAR1", b"PAR1" + b"\xff" * 100 + b"PAR1"):
        path = tmp_path / "rows.parquet"
        path.write_bytes(content)
        assert guess_unpacked_bytes(path) == len(content)


def test_packed_lines_and_plain_ones(tmp_path: Path) -> None:
    content = "\n".join(TEXTS).encode()
    (tmp_path / "rows.jsonl").write_bytes(content)
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(content))
    assert guess_unpacked_bytes(tmp_path / "rows.jsonl") == len(content)
    assert 0.5 * len(content) < guess_unpacked_bytes(tmp_path / "rows.jsonl.gz") < 2 * len(content)
