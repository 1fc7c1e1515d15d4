"""CSV and TSV read as they were written, and whatever is wrong with a table is told with its line."""

import csv
import gzip
import io
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luthier.text.json_lines import LONGEST_LINE_BYTES
from luthier.text.problems import Problems
from luthier.text.readers.formats import read_records
from tests.text.readers.reading import read, write

CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=20)
HEADER = ["question", "answer", "id"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(
    rows=st.lists(st.tuples(CELL, CELL, CELL), max_size=6),
    is_tsv=st.booleans(),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_cells_come_back_as_they_were_written(
    tmp_path: Path, rows: list[tuple[str, str, str]], is_tsv: bool, quoting: int
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, dialect="excel-tab" if is_tsv else "excel", quoting=quoting)  # type: ignore[call-overload]
    writer.writerows([HEADER, *rows])
    path = write(tmp_path, "rows.tsv" if is_tsv else "rows.csv", text.getvalue().encode())
    records, faults = read(path)
    assert not faults
    assert [tuple(fields.values()) for _, fields in records] == rows


def test_a_record_over_several_lines_stands_at_its_first(tmp_path: Path) -> None:
    content = b'q,a\n"one\ntwo",1\n\nthree,"3"\n'
    records, faults = read(write(tmp_path, "rows.csv", content))
    assert records == [(":2", {"q": "one\ntwo", "a": "1"}), (":5", {"q": "three", "a": "3"})]
    assert not faults


def test_cells_stay_text(tmp_path: Path) -> None:
    records, _ = read(write(tmp_path, "rows.csv", b"q,a\n007,1e5\n=HYPERLINK(1),\n"))
    assert [tuple(fields.values()) for _, fields in records] == [("007", "1e5"), ("=HYPERLINK(1)", "")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", b"\xef\xbb\xbfq,a\r\nx,y\r\n"),
        ("rows.csv", b"q;a\nx;y\n"),
        ("rows.tsv", b"q\ta\nx\ty"),
        ("rows.csv.gz", gzip.compress(b"q,a\nx,y\n")),
    ],
    ids=["bom_and_crlf", "semicolons", "tabs_and_no_last_end", "packed"],
)
def test_ways_to_write_a_table(tmp_path: Path, name: str, content: bytes) -> None:
    assert read(write(tmp_path, name, content)) == ([(":2", {"q": "x", "a": "y"})], [])


BAD_TABLES = {
    "ragged": (b"q,a\nx\nx,y,z\nx,y\n", [(":2", "1 fields, and the header has 2: q, a"), (":3", "3 fields")]),
    "column_twice": (b"q,q\nx,y\n", [(":1", "names the column 'q' twice")]),
    "unclosed_quote": (b'q,a\n"x,y\nz,w\n', [(":2", "is not closed by line 3")]),
    "text_behind_a_quote": (b'q,a\n"x"y,z\nv,w\n', [(":2", "text behind a closing quotation mark")]),
    "nul": (b"q,a\nx,\0\n", [(":2", "a NUL byte at byte 3")]),
    "latin_1": (b"q,a\ncaf\xe9,y\n", [(":2", "iconv -f LATIN1")]),
    "utf_16": ("q,a\nx,y\n".encode("utf-16"), [("", "the file is UTF-16")]),
    "a_gzip_file": (gzip.compress(b"q,a"), [("", "gzip archive")]),
    "mac_line_ends": (b"q,a\rx,y\rz,w\r", [(":1", "a carriage return")]),
    "an_endless_line": (b"q,a\n" + b"x" * (LONGEST_LINE_BYTES + 2), [(":2", "longer than 10.0 MiB")]),
    "too_many_columns": (b"," * 20_000 + b"\n", [(":1", "20001 columns")]),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, name: str) -> None:
    content, expected = BAD_TABLES[name]
    _, faults = read(write(tmp_path, "rows.csv", content))
    assert [place for place, _, _ in faults] == [place for place, _ in expected]
    for (_, _, what), (_, said) in zip(faults, expected, strict=True):
        assert said in what


def test_lines_behind_one_that_is_no_text_are_judged(tmp_path: Path) -> None:
    content = b"q,a\nx,\xff\nv,w\n" + b"y" * (LONGEST_LINE_BYTES * 2) + b"\na,\0\nt,u\n"
    records, faults = read(write(tmp_path, "rows.csv", content))
    assert records == [(":3", {"q": "v", "a": "w"}), (":6", {"q": "t", "a": "u"})]
    assert [(place, code) for place, code, _ in faults] == [
        (":2", "data-enc"),
        (":4", "data-line"),
        (":5", "data-csv"),
    ]


def test_rows_beside_bad_ones_are_read(tmp_path: Path) -> None:
    content = b'q,a\n"x"y,z\nragged\nv,w\n'
    records, faults = read(write(tmp_path, "rows.csv", content))
    assert records == [(":4", {"q": "v", "a": "w"})]
    assert len(faults) == 2


@pytest.mark.slow
def test_an_unclosed_quote_does_not_take_the_file_into_memory(tmp_path: Path) -> None:
    path = write(tmp_path, "rows.csv", b'q,a\n"x,y\n' + b"line of text, and more of it\n" * 600_000)
    problems = Problems()
    tracemalloc.start()
    assert (
        sum(1 for _ in read_records(path, problems)) > 100_000
    )  # the quotation mark is given up after 10 MiB
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert problems.count == 1
    assert peak_bytes < 128 * 2**20  # a field of 10 Mi characters, four bytes each while it is gathered


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(content=st.binary(max_size=120))
def test_no_bytes_crash_the_reader(tmp_path: Path, content: bytes) -> None:
    read(write(tmp_path, "rows.csv", content))
