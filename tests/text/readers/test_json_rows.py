"""Arrays of objects are streamed; lines under the name .json are read as lines."""

import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.text.readers.reading import read, write

pytestmark = pytest.mark.slow

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.lists(
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), VALUES, max_size=4),
    max_size=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(rows=OBJECTS, indent=st.sampled_from([None, 2]), ascii_only=st.booleans())
def test_an_array_comes_back_as_it_was_written(
    tmp_path: Path, rows: list[dict[str, object]], indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(rows, indent=indent, ensure_ascii=ascii_only)
    records, faults = read(write(tmp_path, "rows.json", text.encode()))
    assert not faults
    assert [fields for _, fields in records] == rows
    assert [origin for origin, _ in records] == [f"#row {number}" for number in range(1, len(rows) + 1)]


def test_lines_under_the_other_name_are_lines(tmp_path: Path) -> None:
    records, _ = read(write(tmp_path, "rows.json", b'\xef\xbb\xbf{"a": 1}\n{"a": 2}\n'))
    assert [origin for origin, _ in records] == [":1", ":2"]


def test_objects_spread_over_lines_are_read_one_after_the_other(tmp_path: Path) -> None:
    content = json.dumps({"a": 1}, indent=2) + "\n" + json.dumps({"a": [2]}, indent=2)
    records, faults = read(write(tmp_path, "rows.json", content.encode()))
    assert records == [("#row 1", {"a": 1}), ("#row 2", {"a": [2]})]
    assert not faults


def test_a_broken_line_is_told_by_its_number(tmp_path: Path) -> None:
    _, faults = read(write(tmp_path, "rows.json", b'{"a": 1}\n{"a": \n'))
    assert [place for place, _, _ in faults] == [":2"]


BAD_ARRAYS = {
    "cut_off": (b'[{"a": 1}, {"a": ', ":1", "data-trunc", "the file ends inside record 2"),
    "no_end": (b'[{"a": 1}', ":1", "data-trunc", "ends before its array does"),
    "no_objects": (b"[1, 2]", ":1", "data-json", "no object"),
    "text_behind": (b'[{"a": 1}] []', ":1", "data-json", "behind the end"),
    "a_key_twice": (
        b'[{"a": 1},\n{"a": 1, "a": 2}]',
        "#row 2",
        "data-json",
        "twice in one object (the record begins on line 2)",
    ),
    "nan": (b'[{"a": NaN}]', "#row 1", "data-json", "NaN is not JSON"),
    "half_a_pair": (rb'[{"a": "\ud800"}]', "#row 1", "data-surr", "half of a surrogate pair"),
    "ten_thousand_levels": (
        b'[{"a": ' + b"[" * 10_000 + b"]" * 10_000 + b"}]",
        "#row 1",
        "data-depth",
        "64 levels",
    ),
    "a_huge_record": (
        b'[{"a": "' + b"x" * (11 * 2**20) + b'"}]',
        "#row 1",
        "data-line",
        "longer than 10.0 MiB",
    ),
    "utf_16": ('[{"a": 1}]'.encode("utf-16"), "", "data-enc", "UTF-16"),
    "latin_1": (b'[{"a": "caf\xe9"}]', "#row 1", "data-enc", "LATIN1"),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, name: str) -> None:
    content, place, code, said = BAD_ARRAYS[name]
    _, faults = read(write(tmp_path, "rows.json", content))
    assert (faults[0][0], faults[0][1]) == (place, code)
    assert said in faults[0][2]


def test_an_array_is_not_taken_into_memory(tmp_path: Path) -> None:
    path = write(
        tmp_path, "rows.json", b"[" + b",\n".join([b'{"a": "' + b"x" * 1000 + b'"}'] * 40_000) + b"]"
    )
    from luthier.text.problems import Problems
    from luthier.text.readers.formats import read_records

    tracemalloc.start()
    assert sum(1 for _ in read_records(path, Problems())) == 40_000
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 8 * 2**20


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(content=st.binary(max_size=100), is_array=st.booleans())
def test_no_bytes_crash_the_reader(tmp_path: Path, content: bytes, is_array: bool) -> None:
    read(write(tmp_path, "rows.json", b"[" + content if is_array else content))
