"""What is packed reads as what was packed, in bounded memory; what is damaged, cut off or a bomb is told."""

import bz2
import gzip
import lzma
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luthier.floor.errors import EnvironmentFault
from luthier.text.problems import LineFault
from luthier.text.readers.compressed import guess_decompressed_bytes, open_stream
from luthier.text.readers.endings import ending_of
from tests.text.readers.reading import read, write

pytestmark = pytest.mark.slow

zstd = pytest.importorskip("backports.zstd", reason="the extra formats is not installed")

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": zstd.compress,
}
ROW = b'{"text": "a row"}\n'


@pytest.fixture(params=PACKERS)
def ending(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(parts=st.lists(st.binary(max_size=3000), max_size=4), ending=st.sampled_from(sorted(PACKERS)))
def test_streams_end_to_end_read_as_one(tmp_path: Path, parts: list[bytes], ending: str) -> None:
    path = write(tmp_path, f"rows{ending}", b"".join(PACKERS[ending](part) for part in parts))
    with open_stream(path) as file:
        assert file.read() == b"".join(parts)


def test_rows_are_read_from_what_is_packed(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path, f"rows.jsonl{ending}", PACKERS[ending](ROW * 3))
    records, faults = read(path)
    assert [origin for origin, _ in records] == [":1", ":2", ":3"]
    assert not faults


@pytest.mark.parametrize("keep", [0.2, 0.9])
def test_a_file_that_is_cut_off_is_told(tmp_path: Path, ending: str, keep: float) -> None:
    rows = b"".join(b'{"text": "%d"}\n' % (number * 7919 % 1000003) for number in range(20_000))
    whole = PACKERS[ending](rows)
    path = write(tmp_path, f"rows.jsonl{ending}", whole[: int(len(whole) * keep)])
    records, faults = read(path)
    assert len(records) < 20_000
    assert faults[-1][1:] == ("data-archive", "the file is cut off; fetch it again")


def test_another_kind_of_file_under_the_name_is_told(tmp_path: Path, ending: str) -> None:
    _, faults = read(write(tmp_path, f"rows.jsonl{ending}", ROW))
    assert [(place, code) for place, code, _ in faults] == [(":1", "data-archive")]


def test_what_follows_the_packed_part_is_told(tmp_path: Path, ending: str) -> None:
    _, faults = read(write(tmp_path, f"rows.jsonl{ending}", PACKERS[ending](ROW) + b"more"))
    assert faults[0][1] == "data-archive"


def test_a_bomb_is_refused_before_it_costs_anything(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path, f"rows.jsonl{ending}", PACKERS[ending](bytes(2**27)))
    tracemalloc.start()
    records, faults = read(path)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not records
    assert "the file is a bomb" in faults[-1][2]
    assert peak_bytes < 64 * 2**20  # a line may have 10 MiB, and a few copies of it live


def test_an_xz_file_that_asks_for_much_memory_is_refused(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**30, "preset": 0}]
    content = lzma.LZMACompressor(filters=filters)
    path = write(tmp_path, "rows.jsonl.xz", content.compress(ROW) + content.flush())
    assert "Memory usage limit" in read(path)[1][0][2]


def test_an_empty_file_holds_nothing(tmp_path: Path, ending: str) -> None:
    assert read(write(tmp_path, f"rows.jsonl{ending}", b"")) == ([], [])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rows.jsonl", ".jsonl"),
        ("rows.JSONL.GZ", ".jsonl"),
        ("train.tfrecord-00001-of-00010", ".tfrecord"),
        ("rows.jsonl-00001-of-00010.zst", ".jsonl"),
        ("rows.gz", ""),
        ("shard.tgz", ".tgz"),
        ("a.b-1-of-x", ".b-1-of-x"),
    ],
)
def test_the_ending_is_that_of_what_is_packed(name: str, expected: str) -> None:
    assert ending_of(Path(name)) == expected


def test_a_missing_library_is_named_with_its_install_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("compression.zstd", "backports.zstd"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(EnvironmentFault) as caught:
        read(write(tmp_path, "rows.jsonl.zst", b""))
    assert caught.value.code == "env-extra"
    assert 'pip install "luthier[formats]"' in caught.value.fix


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(place=st.integers(0, 200), value=st.integers(0, 255), ending=st.sampled_from(sorted(PACKERS)))
def test_a_spoilt_byte_never_crashes(tmp_path: Path, place: int, value: int, ending: str) -> None:
    content = bytearray(PACKERS[ending](ROW * 50))
    content[place % len(content)] = value
    path = write(tmp_path, f"rows{ending}", bytes(content))
    try:
        with open_stream(path) as file:
            file.read()
    except LineFault as fault:
        assert fault.code == "data-archive"


@pytest.mark.parametrize("ending", [".gz", ".xz", ".bz2"])
def test_what_a_packed_file_unpacks_to_is_guessed_by_its_beginning(tmp_path: Path, ending: str) -> None:
    pack = {".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress}[ending]
    chance = random.Random(1)
    lines = b"".join(b'{"text": "%d and %d"}\n' % (n, chance.randrange(10**6)) for n in range(300_000))
    path = tmp_path / f"rows.jsonl{ending}"
    path.write_bytes(pack(lines))
    assert guess_decompressed_bytes(path) == pytest.approx(len(lines), rel=0.15)
    path.write_bytes(pack(b"short"))
    assert guess_decompressed_bytes(path) == 5


def test_a_guess_fails_on_nothing(tmp_path: Path) -> None:
    for name, content in (("plain.jsonl", b"x" * 10), ("empty.gz", b""), ("broken.gz", b"\x1f\x8bnot gzip")):
        (tmp_path / name).write_bytes(content)
        assert guess_decompressed_bytes(tmp_path / name) == len(content)
