"""Whole files: their form, encoding and ends, files beside each other, and files made to do harm."""

import gzip
import json
import signal
import tempfile
from pathlib import Path

import pytest

from luthier.data.check.stage import CheckTask, check
from luthier.floor.errors import DataError, Interrupted, UsageError
from luthier.floor.memory import peak_resident_bytes
from luthier.floor.stop import StopFlag
from tests.data.check.planting import GOOD, find, kinds, pair, places, write

LINE = json.dumps(GOOD).encode()


def test_a_cut_last_line_is_named_and_the_rows_before_it_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(LINE + b'\n{"prompt": "x", "compl')
    assert kinds(find(path)) == {2: ["cut-off"]}


def test_a_byte_order_mark_is_a_note_and_windows_line_ends_are_none(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + LINE + b"\r\n")
    found = find(path)
    assert kinds(found) == {1: ["bom"]}
    assert found[0].severity == "note"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_file_in_another_unicode_form_is_told_once_and_read(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes("\n".join([json.dumps(GOOD), '{"prompt": 1, "completion": "x"}']).encode(encoding))
    assert kinds(find(path)) == {1: ["encoding"], 2: ["wrong-type"]}


def test_the_records_of_an_array_are_named_by_the_line_that_each_begins_on(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([GOOD, pair(1), GOOD], indent=1))
    assert kinds(find(path)) == {6: ["wrong-type"], 10: ["duplicate", "guide-duplicates"]}


def test_an_array_that_breaks_off_keeps_what_came_before(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text("[\n" + json.dumps(GOOD) + ',\n{"prompt": "x", "comp')
    assert kinds(find(path)) == {3: ["cut-off"]}


def test_a_table_and_a_packed_file_are_checked_like_lines(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text('prompt,completion\n"a\nb",c\nd,\n')
    assert kinds(find(tmp_path / "rows.csv")) == {4: ["empty-answer"]}
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(LINE + b"\n" + LINE + b"\nnothing\n"))
    found = find(tmp_path / "rows.jsonl.gz")
    assert kinds(found) == {2: ["duplicate", "guide-duplicates"], 3: ["broken-json"]}


def test_a_file_without_a_row_is_an_error(tmp_path: Path) -> None:
    assert kinds(find(write(tmp_path / "rows.jsonl", [b"", b"  "]))) == {1: ["empty-file"]}


def test_what_is_no_text_at_all_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(gzip.compress(LINE))
    with pytest.raises(DataError, match="gzip"):
        find(tmp_path / "rows.jsonl")
    with pytest.raises(DataError, match="there is no"):
        find(tmp_path / "other.jsonl")


def test_a_file_named_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [GOOD])
    with pytest.raises(UsageError, match="named twice"):
        find(path, tmp_path)


def test_a_dialect_and_fields_that_nothing_reads_are_told_once_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"question_id": n, "turns": [f"Do {n}."]} for n in range(5)])
    (finding,) = find(path)
    assert (finding.kind, finding.line, finding.severity) == ("other-dialect", 1, "note")
    assert finding.fix == f"convert the file first: luthier data convert {path}"
    path = write(tmp_path / "b.jsonl", [pair(str(n)) | {"topic": n} for n in range(5)])
    (finding,) = find(path)
    assert (finding.kind, finding.line) == ("unused-field", 1)
    assert "'topic', which 5 rows have" in finding.message


def test_a_line_beyond_the_limit_is_told_and_the_next_one_read_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with open(path, "wb") as file:
        file.write(LINE + b'\n{"prompt": "')
        for _ in range(200):
            file.write(b"x" * 2**20)
        file.write(b'"}\n{"prompt": 1, "completion": "x"}\n')
    before = peak_resident_bytes()
    assert kinds(find(path)) == {2: ["too-long-line"], 3: ["wrong-type"]}
    assert peak_resident_bytes() - before < 150 * 2**20


@pytest.mark.parametrize(
    "hostile",
    [
        bytes(range(256)) * 64,
        b"[" * 100_000,
        b'{"messages": ' + b'[{"role": "user", "content": "x"},' * 3 + b"]}",
        b'{"messages": [{"role": {"a": 1}, "content": []}], "tools": 5}',
        b'{"messages": [{"role": "assistant", "content": null, "tool_calls": [1, null, {"function": 3}, {"id": [], "function": {"name": "f"}}]}, {"role": "tool", "tool_call_id": {"a": 1}, "content": ""}]}',
        b'{"messages": [null, 5, [], {}]}',
        b'{"conversations": [{"from": "function_call", "value": "{"}], "tools": "[["}',
        b'{"conversations": [{"from": "gpt", "value": null}, {"from": 7}]}',
        b'{"conversations": {}}',
        b'{"prompt": [], "chosen": 5, "rejected": {}}',
        b'{"input": 5, "preferred_output": [], "non_preferred_output": "x"}',
        b'{"prompt": "x", "chosen": "y", "rejected": "z", "preferred_output": []}',
        b'{"instruction": null, "output": null}',
        b'{"question": {}, "answer": []}',
        b'{"text": {"text": "x"}}',
        b'{"prompt": "x", "completion": "' + b"\\u0000" * 50 + b'"}',
        b'{"prompt": "' + b"a" * 300_000 + b'", "completion": "' + b"!" * 300_000 + b'"}',
        b"{}",
        b"null",
    ],
    ids=range(19),
)  # fmt: skip
def test_hostile_rows_are_findings_with_a_place(hostile: bytes, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(hostile + b"\n" + LINE + b"\n")
    assert all(each.line >= 1 and each.message for each in find(path))


def test_rows_are_counted_whatever_they_hold(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [GOOD, b"", b"{", b"5", pair(2)])
    with check(CheckTask((path,))) as found:
        assert found.rows == 4


def test_files_of_one_split_repeat_and_of_two_splits_leak(tmp_path: Path) -> None:
    one = write(tmp_path / "part-1.jsonl", [GOOD, pair("a", "b")])
    two = write(tmp_path / "part-2.jsonl", [pair("c", "d"), GOOD])
    test = write(
        tmp_path / "test.jsonl", [pair(GOOD["prompt"].upper() + "!", "Something else."), pair("e", "f")]
    )
    found = find(one, two)
    assert [(each.file, each.line) for each in found if each.kind == "duplicate"] == [(str(two), 2)]
    assert not places(found, "leak")
    found = find(one, two, test)
    leaks = [(each.file, each.line) for each in found if each.kind == "leak"]
    assert leaks == [(str(one), 1), (str(two), 2)]
    assert f"{test}:1" in next(each.message for each in found if each.kind == "leak")
    assert {each.severity for each in found if each.kind == "leak"} == {"error"}


def test_a_check_that_is_asked_to_stop_ends_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    path = write(tmp_path / "rows.jsonl", [pair(str(n)) for n in range(1500)])
    stop = StopFlag()
    stop.set(signal.SIGINT)
    with pytest.raises(Interrupted, match="interrupted"), check(CheckTask((path,)), stop=stop):
        pass
    assert list((tmp_path / "scratch").iterdir()) == []
