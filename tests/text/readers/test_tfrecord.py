"""TFRecord: what TensorBoard's own writer writes is read, checksums are checked, and damage is told."""

import gzip
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luthier.floor.errors import EnvironmentFault
from tests.text.readers.reading import read, write

pytest.importorskip("google_crc32c", reason="the extra formats is not installed")
pytest.importorskip("tensorboard", reason="its writer is the judge")

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def varint(value: int) -> bytes:
    found = b""
    while value > 127:
        found, value = found + bytes([value & 127 | 128]), value >> 7
    return found + bytes([value])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def example(features: dict[str, list[str] | list[int] | list[float]]) -> bytes:
    """A tf.train.Example by the wire format, written here by hand."""
    entries = b""
    for name, values in features.items():
        if all(isinstance(value, int) for value in values):
            feature = field(3, field(1, b"".join(varint(value & (2**64 - 1)) for value in values)))  # type: ignore[operator]
        elif all(isinstance(value, float) for value in values):
            feature = field(2, field(1, struct.pack(f"<{len(values)}f", *values)))
        else:
            feature = field(1, b"".join(field(1, str(value).encode()) for value in values))
        entries += field(1, field(1, name.encode()) + field(2, feature))
    return field(1, entries)


def records_of(path: Path, messages: list[bytes]) -> Path:
    from tensorboard.summary.writer.record_writer import RecordWriter

    with open(path, "wb") as file:
        writer = RecordWriter(file)
        for message in messages:
            writer.write(message)
    return path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(TEXT, TEXT, st.integers(-(2**62), 2**62)), max_size=5))
def test_examples_come_back_as_they_were_written(tmp_path: Path, rows: list[tuple[str, str, int]]) -> None:
    messages = [example({"prompt": [p], "completion": [c], "id": [i]}) for p, c, i in rows]
    records, faults = read(records_of(tmp_path / "rows.tfrecord", messages))
    assert not faults
    assert [(f["prompt"], f["completion"], f["id"]) for _, f in records] == rows


def test_lists_and_names_of_shards(tmp_path: Path) -> None:
    path = records_of(
        tmp_path / "train.tfrecord-00000-of-00002", [example({"a": ["x", "y"], "b": [0.5], "c": [1, 2]})]
    )
    assert read(path)[0] == [("#row 1", {"a": ["x", "y"], "b": 0.5, "c": [1, 2]})]
    packed = write(tmp_path, "rows.tfrecord.gz", gzip.compress(path.read_bytes()))
    assert len(read(packed)[0]) == 1


def spoilt(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(bytes(content))


def test_damage_is_found_by_the_checksums(tmp_path: Path) -> None:
    messages = [example({"text": ["one"]}), example({"text": ["two"]})]
    path = records_of(tmp_path / "rows.tfrecord", messages)
    spoilt(path, 20)
    records, faults = read(path)
    assert [fields for _, fields in records] == [{"text": "two"}]
    assert faults == [("#row 1", "data-table", "the checksum of the record is wrong: it is damaged")]
    spoilt(path, 1)
    assert "the checksum of a record's length is wrong" in read(path)[1][0][2]


@pytest.mark.parametrize("cut", [1, 6, 20, 45])
def test_a_file_that_is_cut_off_is_told(tmp_path: Path, cut: int) -> None:
    path = records_of(tmp_path / "rows.tfrecord", [example({"text": ["some words"]})] * 2)
    path.write_bytes(path.read_bytes()[:-cut])
    _, faults = read(path)
    assert "the file is cut off" in faults[-1][2]


def test_a_record_of_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    import google_crc32c

    header = struct.pack("<Q", 2**30)
    crc = google_crc32c.value(header)
    masked = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
    _, faults = read(write(tmp_path, "rows.tfrecord", header + struct.pack("<I", masked) + bytes(100)))
    assert "the file is cut off" in faults[0][2]


def test_no_example_is_told(tmp_path: Path) -> None:
    path = records_of(tmp_path / "rows.tfrecord", [b"\xff\xff\xff", example({"text": ["x"]})])
    records, faults = read(path)
    assert len(records) == 1
    assert "no tf.train.Example" in faults[0][2]


def test_a_missing_library_is_named_with_its_install_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "google_crc32c", None)
    with pytest.raises(EnvironmentFault) as caught:
        read(write(tmp_path, "rows.tfrecord", b""))
    assert 'pip install "luthier[formats]"' in caught.value.fix


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(place=st.integers(0, 500), value=st.integers(0, 255))
def test_spoilt_bytes_never_crash(tmp_path: Path, place: int, value: int) -> None:
    path = records_of(tmp_path / "rows.tfrecord", [example({"text": ["words"]})] * 3)
    content = bytearray(path.read_bytes())
    content[place % len(content)] = value
    read(write(tmp_path, "rows.tfrecord", bytes(content)))
