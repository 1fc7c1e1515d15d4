"""A conversion: rows that `prepare` reads, a report that adds up, nothing half done, nothing in the way replaced."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luthier.data.convert import intake, stage, writer
from luthier.data.convert.stage import Request, convert
from luthier.floor.errors import DataError, EnvironmentFault, Interrupted, LuthierError, UsageError
from luthier.floor.files import sha256_of
from luthier.floor.log import Recorder
from luthier.floor.stop import StopFlag
from luthier.reports.convert import ConvertReport
from luthier.text.rows import read_rows
from tests.data.convert.converting import FORMATS, converted, rows_of, said, talk, write_json

TWO = [talk("Hi", "Hello"), talk("Why?", "Because.", "Really?", "Yes.")]


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", [path.name for path in sorted(FORMATS.glob("*.json*"))])
@pytest.mark.parametrize("form", ["messages", "prompt_completion"])
def test_the_rows_are_those_that_prepare_reads(tmp_path: Path, name: str, form: Any) -> None:
    output = tmp_path / "rows.jsonl"
    report = convert(Request(FORMATS / name, output, form=form))
    rows = list(read_rows([output], "auto"))
    assert len(rows) == report.rows > 0
    assert {row.kind for row in rows} == {form}


def test_the_report_says_what_was_read_and_written(tmp_path: Path) -> None:
    _, report = rows_of(tmp_path, TWO)
    output = tmp_path / "out" / "rows.jsonl"
    assert listing(tmp_path) == ["out/rows.jsonl", "out/rows.report.json", "source.json"]
    assert ConvertReport.read(output.with_name("rows.report.json")) == report
    assert report.files == {str(tmp_path / "source.json"): sha256_of(tmp_path / "source.json")}
    assert report.output_sha256 == sha256_of(output)
    assert report.options == {
        "branches": "current",
        "tools": "drop",
        "keep": [],
        "skip_faulty": False,
        "columns": {},
    }
    assert (report.dialect, report.format, report.rows) == ("chatgpt", "messages", 2)


def test_the_same_export_gives_the_same_bytes(tmp_path: Path) -> None:
    first = rows_of(tmp_path, TWO)[1]
    assert rows_of(tmp_path, TWO)[1].output_sha256 == first.output_sha256
    assert rows_of(tmp_path, TWO)[1].inputs_hash == first.inputs_hash
    assert rows_of(tmp_path, TWO, branches="all")[1].inputs_hash != first.inputs_hash


def test_prompt_completion_holds_the_first_exchange_and_counts_the_rest(tmp_path: Path) -> None:
    rows, report = rows_of(tmp_path, TWO, form="prompt_completion")
    assert rows == [{"prompt": "Hi", "completion": "Hello"}, {"prompt": "Why?", "completion": "Because."}]
    assert report.messages.dropped["later turn: prompt_completion holds one exchange"] == 2


def test_a_dry_run_writes_nothing_and_shows_the_first_three(tmp_path: Path) -> None:
    source = write_json(tmp_path / "source.json", [talk(f"Q{n}", f"A{n}") for n in range(5)])
    (tmp_path / "rows.jsonl").write_text("mine")
    report = convert(Request(source, tmp_path / "rows.jsonl", is_dry=True))
    assert listing(tmp_path) == ["rows.jsonl", "source.json"]
    assert (tmp_path / "rows.jsonl").read_text() == "mine"
    assert [said(row)[0][1] for row in report.sample] == ["Q0", "Q1", "Q2"]
    assert report.rows == 5
    assert report.output_sha256 is None


def test_the_dialect_is_said_before_anything_is_converted(tmp_path: Path) -> None:
    listener = Recorder()
    with pytest.raises(DataError, match="no row came"):
        convert(Request(write_json(tmp_path / "source.json", [talk("Hi")])), listener=listener)
    assert listener.lines == [
        f"reading {tmp_path}/source.json as chatgpt (ChatGPT export: conversations with a mapping of nodes)"
    ]


def test_a_file_in_the_way_stays_unless_it_is_given_up(tmp_path: Path) -> None:
    source, output = write_json(tmp_path / "source.json", TWO), tmp_path / "rows.jsonl"
    output.write_text("mine")
    with pytest.raises(UsageError, match="is there already") as caught:
        convert(Request(source, output))
    assert "--overwrite" in caught.value.fix
    assert output.read_text() == "mine"
    convert(Request(source, output, overwrite=True))
    assert output.read_text().count("\n") == 2


@pytest.mark.parametrize("target", ["source.json", "link.json", "folder"])
def test_the_source_and_what_is_no_file_are_never_replaced(tmp_path: Path, target: str) -> None:
    source = write_json(tmp_path / "source.json", TWO)
    (tmp_path / "link.json").symlink_to(source)
    (tmp_path / "folder").mkdir()
    before = source.read_bytes()
    with pytest.raises(UsageError):
        convert(Request(source, tmp_path / target, overwrite=True))
    assert source.read_bytes() == before


def test_rows_go_beside_their_source_unless_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "chatgpt").mkdir()
    assert writer.default_output(tmp_path / "chatgpt") == tmp_path / "chatgpt.jsonl"
    assert writer.default_output(tmp_path / "export.zip") == tmp_path / "export.jsonl"
    assert writer.default_output(tmp_path / "rows.jsonl") == tmp_path / "rows.converted.jsonl"


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(EnvironmentFault):
        rows_of(tmp_path, TWO)
    assert listing(tmp_path) == ["source.json"]


def test_a_stop_leaves_nothing(tmp_path: Path) -> None:
    stop = StopFlag()
    stop.set(2)
    source = write_json(tmp_path / "source.json", TWO)
    with pytest.raises(Interrupted, match="nothing of it was kept"):
        convert(Request(source, tmp_path / "rows.jsonl"), stop=stop)
    assert listing(tmp_path) == ["source.json"]


def test_half_a_surrogate_pair_is_mended_and_counted(tmp_path: Path) -> None:
    source = tmp_path / "source.json"
    source.write_text(json.dumps([talk("Hi \ud83d", "Hello \U0001f600 \udc00")]))
    rows, report = converted(source)
    assert said(rows[0]) == [("user", "Hi \ufffd"), ("assistant", "Hello \U0001f600 \ufffd")]
    assert report.notes == {"half of a surrogate pair replaced by U+FFFD": 2}


def test_broken_conversations_of_an_export_are_counted(tmp_path: Path) -> None:
    good, deep = json.dumps(TWO[0]), '{"mapping": ' + "[" * 90 + "]" * 90 + "}"
    source = tmp_path / "conversations.json"
    source.write_text(f'[{deep}, {good}, {{"mapping": }}, {{"title": "no tree"}}]')
    rows, report = converted(source)
    assert len(rows) == 1
    assert report.conversations.dropped == {"faulty: data-depth": 1, "faulty: data-json": 1, "no messages": 1}


def test_an_export_in_one_object_and_one_conversation_alone_are_read(tmp_path: Path) -> None:
    expected = rows_of(tmp_path, TWO)[0]
    for indent in (None, 1):
        source = tmp_path / "wrapped.json"
        source.write_text(json.dumps({"conversations": TWO}, indent=indent))
        assert converted(source)[0] == expected
        source.write_text(json.dumps(TWO[0], indent=indent))
        assert converted(source)[0] == expected[:1]


def test_text_is_data_and_nothing_named_in_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []

    def watch(real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda path, *rest, **more: (opened.append(path), real(path, *rest, **more))[1]

    monkeypatch.setattr("builtins.open", watch(open))
    monkeypatch.setattr("os.open", watch(os.open))
    hostile = talk("see file:///etc/passwd", "<script src=http://203.0.113.1/x>")
    hostile["id"] = "../../../tmp/x"
    rows, _ = rows_of(tmp_path, [hostile])
    assert len(rows) == 1
    names = [
        str(path) for path in opened if not isinstance(path, int)
    ]  # a number is a file that a name opened
    assert names and all(name.startswith(str(tmp_path)) for name in names)


HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "blank": b" \n\n",
    "prose": b"Dear diary, today",
    "html": b"<html><body>chat</body></html>",
    "utf-16": '[{"mapping": {}}]'.encode("utf-16"),
    "latin-1": b'{"question": "caf\xe9", "answer": "x"}\n',
    "cut": b'[{"mapping": {"a": {"message": nu',
    "empty array": b"[]",
    "numbers": b"[1, 2, 3]",
    "a string": b'"conversations"',
    "deep": b"[" * 100_000,
    "deep object": b'{"a":' * 100_000,
    "gzip": b"\x1f\x8b\x08\x00rest",
    "pickle": b"\x80\x04\x95rest",
    "nul": b"\0" * 4096,
    "other export": b'[{"uuid": "1", "name": "x", "chat_messages": []}]',
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("ending", ["json", "jsonl", "zip"])
def test_what_is_no_export_ends_in_one_clear_message(tmp_path: Path, name: str, ending: str) -> None:
    source = tmp_path / f"source.{ending}"
    source.write_bytes(HOSTILE[name])
    with pytest.raises(DataError) as caught:
        convert(Request(source, tmp_path / "rows.jsonl"))
    assert caught.value.exit_code == 3
    assert str(source) in caught.value.render()
    assert len(caught.value.render()) < 3_000
    assert listing(tmp_path) == [source.name]


@pytest.mark.parametrize("place", ["nowhere.json", "folder", "/dev/zero"])
def test_a_source_that_is_not_there_or_no_file_says_so(tmp_path: Path, place: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(LuthierError) as caught:
        convert(Request(tmp_path / place))
    assert caught.value.code in ("data-missing", "data-path")


def test_every_reason_of_the_stage_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The books refuse to close when they are off."""
    books = stage.ConversionBooks()
    books.messages.came_in = 3
    books.messages.kept = 1
    books.messages.dropped["empty"] = 1
    with pytest.raises(AssertionError, match="off by 1"):
        books.messages.close("messages")


def test_work_that_takes_long_says_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, int, int]] = []

    class Listener(Recorder):
        def progress(self, label: str, done: int, total: int, detail: str = "") -> None:
            told.append((label, done, total))

    source = write_json(tmp_path / "source.json", [talk("Hi", "x" * 100_000)] * 50)
    length = source.stat().st_size
    convert(Request(source, tmp_path / "quick.jsonl"), listener=Listener())
    assert told == [], "nobody waits two seconds for this"
    monkeypatch.setattr(intake, "SILENT_S", 0.0)
    convert(Request(source, tmp_path / "slow.jsonl"), listener=Listener())
    assert told[-1] == ("convert", length, length)
    assert len(told) > 2 and told == sorted(told)
