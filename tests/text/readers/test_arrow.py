"""Parquet and Arrow tables read as pyarrow wrote them; damaged ones are told, and none takes the process along."""

import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luthier.floor.errors import EnvironmentFault
from tests.text.readers.reading import read, write

arrow = pytest.importorskip("pyarrow", reason="the extra formats is not installed")
from pyarrow import feather, parquet  # noqa: E402

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
MESSAGES = st.lists(st.fixed_dictionaries({"role": TEXT, "content": TEXT}), max_size=3)
ROWS = st.lists(
    st.fixed_dictionaries({"prompt": TEXT, "score": st.none() | st.integers(-9, 9), "messages": MESSAGES}),
    min_size=1,
    max_size=20,
)
SCHEMA = arrow.schema(
    [
        ("prompt", arrow.string()),
        ("score", arrow.int64()),
        ("messages", arrow.list_(arrow.struct([("role", arrow.string()), ("content", arrow.string())]))),
    ]
)


def packed(rows: list[dict[str, Any]], kind: str, schema: Any = SCHEMA) -> bytes:
    table = arrow.Table.from_pylist(rows, schema=schema)
    sink = io.BytesIO()
    if kind == "parquet":
        parquet.write_table(table, sink, row_group_size=7, write_page_checksum=True)
    elif kind == "feather":
        feather.write_feather(table, sink, compression="zstd", chunksize=5)
    else:
        with arrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=5)
    return sink.getvalue()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(rows=ROWS, kind=st.sampled_from(["parquet", "feather", "arrow"]))
def test_rows_come_back_as_they_were_written(tmp_path: Path, rows: list[dict[str, Any]], kind: str) -> None:
    records, faults = read(write(tmp_path, f"rows.{kind}", packed(rows, kind)))
    assert not faults
    assert [fields for _, fields in records] == rows
    assert [origin for origin, _ in records] == [f"#row {number}" for number in range(1, len(rows) + 1)]


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b'{"a": 1}\n', b"PAR1" + bytes(100) + b"PAR1", b"ARROW1\0\0" + bytes(50)]
)
def test_what_is_no_table_is_told(tmp_path: Path, ending: str, content: bytes) -> None:
    records, faults = read(write(tmp_path, f"rows.{ending}", content))
    assert not records
    assert [code for _, code, _ in faults] == ["data-table"]


def test_a_column_named_twice_is_refused(tmp_path: Path) -> None:
    table = arrow.table([arrow.array(["a"]), arrow.array(["b"])], names=["q", "q"])
    parquet.write_table(table, tmp_path / "rows.parquet")
    assert "names the column 'q' twice" in read(tmp_path / "rows.parquet")[1][0][2]


def test_a_spoilt_page_is_found_by_its_checksum(tmp_path: Path) -> None:
    table = arrow.table({"text": ["x" * 500] * 50})
    parquet.write_table(table, tmp_path / "whole.parquet", compression="none", use_dictionary=False, write_statistics=False, write_page_checksum=True)  # fmt: skip
    content = bytearray((tmp_path / "whole.parquet").read_bytes())
    content[content.index(b"xxxx") + 2] ^= 1
    _, faults = read(write(tmp_path, "rows.parquet", bytes(content)))
    assert faults
    assert "not readable as a table" in faults[0][2]


def test_large_rows_are_taken_few_at_a_time(tmp_path: Path) -> None:
    before = arrow.total_allocated_bytes()
    rows = [{"prompt": "x" * 2**20, "score": number, "messages": []} for number in range(64)]
    path = write(tmp_path, "rows.arrow", packed(rows, "arrow"))
    assert len(read(path)[0]) == 64
    assert arrow.total_allocated_bytes() - before < 2**20


@pytest.mark.parametrize("kind", ["parquet", "feather", "arrow"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(
    places=st.lists(st.integers(0, 2**20), min_size=1, max_size=4),
    value=st.integers(0, 255),
    cut=st.integers(0, 50),
)
def test_spoilt_bytes_never_crash(tmp_path: Path, kind: str, places: list[int], value: int, cut: int) -> None:
    content = bytearray(packed([{"prompt": "a", "score": 1, "messages": []}] * 20, kind))
    for place in places:
        content[place % len(content)] = value
    read(write(tmp_path, f"rows.{kind}", bytes(content[: len(content) - cut])))


def test_a_missing_library_is_named_with_its_install_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(EnvironmentFault) as caught:
        read(write(tmp_path, "rows.parquet", b""))
    assert 'pip install "luthier[formats]"' in caught.value.fix
