"""Objects are cut out of a stream as a parser would find them, one at a time, whatever the chunks are."""

import json
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.floor.errors import DataError
from luthier.text import json_values
from luthier.text.json_values import Piece, parse_record, split_lines, split_objects
from luthier.text.problems import LineFault

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
objects = st.lists(st.dictionaries(st.text(), values, max_size=4), max_size=5)


def chunks(content: bytes, length: int) -> Iterator[bytes]:
    return (content[at : at + length] for at in range(0, len(content), length))


def cut(content: bytes, length: int = 7) -> list[Piece]:
    return list(split_objects(chunks(content, length), "x.json"))


def parsed(pieces: list[Piece]) -> list[dict[str, Any]]:
    return [parse_record(piece, Path("x.json")) for piece in pieces]


@settings(deadline=None)
@given(records=objects, indent=st.sampled_from([None, 1]), length=st.integers(1, 40), is_ascii=st.booleans())
def test_an_array_is_cut_into_its_objects(
    records: list[Any], indent: Any, length: int, is_ascii: bool
) -> None:
    content = json.dumps(records, indent=indent, ensure_ascii=is_ascii).encode()
    assert parsed(cut(content, length)) == records


@settings(deadline=None)
@given(records=objects, length=st.integers(1, 40))
def test_lines_and_objects_after_each_other_are_the_same_records(records: list[Any], length: int) -> None:
    content = "\n".join(json.dumps(record) for record in records).encode()
    assert parsed(cut(content, length)) == records
    assert parsed(list(split_lines(chunks(content, length)))) == records


def test_a_piece_knows_its_line_and_number() -> None:
    pieces = cut(b'[\n {"a": 1},\n\n {"b":\n  "x"}, {"c": 2}]')
    assert [(piece.line, piece.number) for piece in pieces] == [(2, 1), (4, 2), (5, 3)]


@pytest.mark.parametrize(
    "content, code, line",
    [
        (b'[{"a": 1},\n {"b": "', "data-trunc", 2),
        (b'[{"a": 1},\n', "data-trunc", 2),
        (b"[", "data-trunc", 1),
        (b'[{"a": 1}] x', "data-json", 1),
        (b"[1, 2]", "data-json", 1),
        (b'[[{"a": 1}]]', "data-json", 1),
        (b'[\n"text"]', "data-json", 2),
    ],
)
def test_what_is_no_array_of_objects_names_its_line(content: bytes, code: str, line: int) -> None:
    with pytest.raises(DataError) as caught:
        cut(content)
    assert (caught.value.code, caught.value.where) == (code, f"x.json:{line}")


@pytest.mark.parametrize(
    "record, code",
    [
        (b'{"a": }', "data-json"),
        (b'{"a": 1, "a": 2}', "data-json"),
        (b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}", "data-depth"),
        (b'{"a": "\xff"}', "data-enc"),
        (b'{"a": ' + b"9" * 5000 + b"}", "data-json"),
        (b'{"a": [}]', "data-json"),
    ],
)
def test_a_broken_record_has_a_fault_of_its_own(record: bytes, code: str) -> None:
    pieces = cut(b"[" + record + b"]")
    with pytest.raises(LineFault) as caught:
        parse_record(pieces[0], Path("x.json"))
    assert caught.value.code == code


def test_a_record_beyond_bounds_is_passed_over_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_values, "LONGEST_RECORD_BYTES", 2_000_000)
    monkeypatch.setattr(json_values, "MOST_BRACKETS", 1_000)
    text = json.dumps({"a": '\\"[{' * 2_000_000})
    brackets = json.dumps({"a": [[]] * 5_000})
    content = f'[{{"b": 1}},\n{text},\n{brackets},\n{{"c": 2}}]'.encode()
    tracemalloc.start()
    pieces = cut(content, 100_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [piece.content for piece in pieces] == [b'{"b": 1}', None, None, b'{"c": 2}']
    assert [piece.line for piece in pieces] == [1, 2, 3, 4]
    assert peak < 12_000_000 < len(content)


def test_a_line_beyond_bounds_is_passed_over_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_values, "LONGEST_LINE_BYTES", 100)
    content = b'{"a": 1}\n\n{"b": "' + b"x" * 5_000 + b'"}\n{"c": 2}\n{"d": "' + b"x" * 500
    pieces = list(split_lines(chunks(content, 64)))
    assert [(piece.line, piece.content) for piece in pieces] == [
        (1, b'{"a": 1}'),
        (3, None),
        (4, b'{"c": 2}'),
        (5, None),
    ]


def test_a_long_string_is_not_scanned_over_and_over() -> None:
    content = b'[{"a": "' + b"x" * 30_000_000 + b'"}]'
    started = time.process_time()
    assert len(cut(content, 2**20)) == 1
    assert time.process_time() - started < 2
