"""A shard's members of one name are one row; names that leave, links, bombs and damage are told."""

import gzip
import io
import json
import tarfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luthier.text.problems import Problems
from luthier.text.readers.formats import read_records
from tests.text.readers.reading import read, write

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), max_size=20)


def shard(members: list[tuple[str, bytes]]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return sink.getvalue()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(TEXT, TEXT, st.integers(-5, 5)), max_size=5), is_packed=st.booleans())
def test_samples_come_back_as_they_were_written(
    tmp_path: Path, rows: list[tuple[str, str, int]], is_packed: bool
) -> None:
    members = [
        member
        for number, (prompt, completion, score) in enumerate(rows)
        for member in (
            (f"data/{number:04}.prompt.txt", prompt.encode()),
            (f"data/{number:04}.completion.txt", completion.encode()),
            (f"data/{number:04}.json", json.dumps({"score": score}).encode()),
        )
    ]
    content = shard(members)
    path = write(
        tmp_path, "s.tar.gz" if is_packed else "s.tar", gzip.compress(content) if is_packed else content
    )
    records, faults = read(path)
    assert not faults
    assert [(f["prompt"], f["completion"], f["score"]) for _, f in records] == rows
    assert [origin for origin, _ in records] == [f"#row {number}" for number in range(1, len(rows) + 1)]


def test_members_of_each_ending(tmp_path: Path) -> None:
    content = shard(
        [
            ("a.txt", b"text"),
            ("a.cls", b"3\n"),
            ("a.meta.json", b"[1]"),
            ("a.jpg", b"\xff\xd8"),
            ("b.txt", b"more"),
        ]
    )
    problems = Problems()
    records = [fields for _, fields in read_records(write(tmp_path, "s.tar", content), problems)]
    assert records == [{"text": "text", "cls": "3", "meta": [1]}, {"text": "more"}]
    assert problems.passed_over == {"members *.jpg": 1}


def special(name: str, kind: bytes) -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, "/etc/passwd"
    return member.tobuf()


BAD_SHARDS = {
    "a_name_that_climbs": (
        shard([("../../evil.txt", b"x")]),
        "!../../evil.txt",
        "data-archive",
        "leaves the folder",
    ),
    "an_absolute_name": (
        shard([("/etc/evil.txt", b"x")]),
        "!/etc/evil.txt",
        "data-archive",
        "leaves the folder",
    ),
    "a_backslash_name": (
        shard([("..\\evil.txt", b"x")]),
        "!..\\evil.txt",
        "data-archive",
        "leaves the folder",
    ),
    "a_symbolic_link": (special("a.txt", tarfile.SYMTYPE), "!a.txt", "data-archive", "a link or a device"),
    "a_hard_link": (special("a.txt", tarfile.LNKTYPE), "!a.txt", "data-archive", "a link or a device"),
    "a_device": (special("a.txt", tarfile.CHRTYPE), "!a.txt", "data-archive", "a link or a device"),
    "no_tar_file": (b"hello" * 500, "", "data-archive", "the archive is damaged"),
    "cut_off": (shard([("a.txt", b"x" * 5000)])[:1500], "", "data-archive", "the archive is damaged"),
    "broken_json": (shard([("a.json", b"{")]), "!a.json", "data-json", "spread over lines"),
    "deep_json": (shard([("a.x.json", b"[" * 10_000)]), "!a.x.json", "data-depth", "64 levels"),
    "latin_1": (shard([("a.txt", b"caf\xe9")]), "!a.txt", "data-enc", "not UTF-8"),
    "a_nul": (shard([("a.txt", b"a\0b")]), "!a.txt", "data-enc", "NUL"),
    "a_huge_member": (shard([("a.txt", b"x" * (11 * 2**20))]), "!a.txt", "data-line", "longer than 10.0 MiB"),
    "a_field_twice": (
        shard([("a.txt", b"x"), ("a.json", b'{"text": "y"}')]),
        "!a.json",
        "data-field",
        "'text' twice",
    ),
}


@pytest.mark.parametrize("name", BAD_SHARDS)
def test_what_is_wrong_is_told_with_its_member(tmp_path: Path, name: str) -> None:
    content, place, code, said = BAD_SHARDS[name]
    _, faults = read(write(tmp_path, "s.tar", content))
    assert (faults[0][0], faults[0][1]) == (place, code)
    assert said in faults[0][2]
    assert not any("evil" in str(path) for path in tmp_path.rglob("*"))


def test_a_bad_sample_does_not_take_the_good_ones_along(tmp_path: Path) -> None:
    content = shard([("a.txt", b"one"), ("b.txt", b"\xff"), ("b.json", b'{"id": 1}'), ("c.txt", b"two")])
    records, faults = read(write(tmp_path, "s.tar", content))
    assert [fields for _, fields in records] == [{"text": "one"}, {"text": "two"}]
    assert [place for place, _, _ in faults] == ["!b.txt"]


def test_a_long_name_header_of_a_gigabyte_is_refused(tmp_path: Path) -> None:
    member = tarfile.TarInfo("x")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 2**30
    path = write(tmp_path, "s.tar", member.tobuf() + bytes(4096))
    tracemalloc.start()
    _, faults = read(path)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "the archive is damaged" in faults[0][2]
    assert peak_bytes < 4 * 2**20


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(place=st.integers(0, 3000), value=st.integers(0, 255), cut=st.integers(0, 9000))
def test_spoilt_bytes_never_crash(tmp_path: Path, place: int, value: int, cut: int) -> None:
    content = bytearray(shard([("a.prompt.txt", b"x"), ("a.json", b'{"y": 1}'), ("b" * 150 + ".txt", b"z")]))
    content[place % len(content)] = value
    read(write(tmp_path, "s.tar", bytes(content[: len(content) - cut])))
