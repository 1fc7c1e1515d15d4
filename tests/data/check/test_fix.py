"""The repaired copy: what is mended, what is left out, books that balance, and files that nobody touched."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.check.fix import check_out, fix
from luthier.data.check.kinds import KINDS
from luthier.data.check.stage import CheckTask, check
from luthier.floor.errors import UsageError
from luthier.floor.log import Silent
from luthier.floor.stop import StopFlag
from luthier.reports.check import RepairBooks
from tests.data.check.planting import ANSWER, GOOD, TOOL, USER, call, chat, find, pair, write


def repair(out: Path, *paths: Path) -> RepairBooks:
    """Repair copies of files, and hold the books."""
    with check(CheckTask(paths)) as found:
        books = fix(found.sources, out, listener=Silent(), stop=StopFlag())
        assert books.rows_in == found.rows
    assert books.rows_in == books.rows_kept + sum(books.dropped.values())
    entries = ledger(out)
    drops = [entry for entry in entries if entry["action"] == "drop"]
    assert len(drops) == sum(books.dropped.values())
    assert len(entries) - len(drops) == sum(books.edits.values())
    assert RepairBooks.model_validate_json((out / "report.json").read_bytes()) == books
    return books


def ledger(out: Path) -> list[dict[str, Any]]:
    """The lines of the ledger."""
    return [json.loads(line) for line in (out / "ledger.jsonl").read_text().splitlines()]


def rows_of(path: Path) -> list[Any]:
    """The rows of a copy."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rows_without_a_fault_are_copied_byte_for_byte(tmp_path: Path) -> None:
    content = (
        b'{ "prompt": "caf\\u00e9",\t"completion": "y", "id": 1.50 }\n\n{"prompt":"q","completion":"z"}\n'
    )
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    books = repair(tmp_path / "out", path)
    assert (tmp_path / "out" / "rows.jsonl").read_bytes() == content.replace(b"\n\n", b"\n")
    assert (books.rows_kept, books.rows_edited, books.edits, books.dropped) == (2, 0, {}, {})
    assert path.read_bytes() == content


def test_texts_are_mended_in_place_and_the_ledger_says_what_was_there(tmp_path: Path) -> None:
    rows = [
        pair("Wie schÃ¶n!\u200b", "A \x07bell."),
        chat(USER, {**ANSWER, "content": [{"type": "text", "text": "x\u2060y"}]}),
    ]
    for number, row in enumerate(rows):
        write(tmp_path / f"{number}.jsonl", [row])
    books = repair(tmp_path / "out", tmp_path / "0.jsonl", tmp_path / "1.jsonl")
    assert rows_of(tmp_path / "out" / "0.jsonl") == [pair("Wie schön!", "A bell.")]
    assert rows_of(tmp_path / "out" / "1.jsonl")[0]["messages"][1]["content"][0]["text"] == "xy"
    assert books.rows_edited == 2
    first = ledger(tmp_path / "out")[0]
    assert (first["line"], first["kind"], first["place"], first["at"]) == (1, "mojibake", "prompt", 7)
    assert (first["before"], first["after"]) == ("Ã¶", "ö")
    assert ledger(tmp_path / "out")[-1]["place"] == "messages[1].content[0].text"


def test_turns_behind_the_last_answer_are_cut_and_arguments_decoded(tmp_path: Path) -> None:
    twice = json.dumps(json.dumps({"a": 6, "b": "sieben"}))
    rows = [chat(USER, ANSWER, {"role": "user", "content": "And?"}), chat(USER, call(twice), tools=[TOOL])]
    repair(tmp_path / "out", write(tmp_path / "rows.jsonl", rows))
    first, second = rows_of(tmp_path / "out" / "rows.jsonl")
    assert first == chat(USER, ANSWER)
    arguments = second["messages"][1]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(arguments) == {"a": 6, "b": "sieben"}


def test_rows_that_teach_nothing_and_repeats_are_left_out_with_their_reason(tmp_path: Path) -> None:
    rows = [
        GOOD,
        b"{broken",
        pair("x", " "),
        pair("\u200b", "x"),
        GOOD,
        {**GOOD, "prompt": GOOD["prompt"] + "\u200b"},
    ]
    books = repair(tmp_path / "out", write(tmp_path / "rows.jsonl", rows))
    assert rows_of(tmp_path / "out" / "rows.jsonl") == [GOOD]
    assert books.dropped == {"broken-json": 1, "duplicate": 2, "empty-answer": 1, "empty-prompt": 1}
    drops = {entry["line"]: entry for entry in ledger(tmp_path / "out") if entry["action"] == "drop"}
    assert sorted(drops) == [2, 3, 4, 5, 6]
    assert drops[6]["reason"] == f"the same as {tmp_path / 'rows.jsonl'}:1"


def test_other_encodings_become_utf_8_and_arrays_lines(tmp_path: Path) -> None:
    (tmp_path / "latin.jsonl").write_bytes('{"text": "café"}\n'.encode("latin-1"))
    (tmp_path / "wide.jsonl").write_bytes('{"text": "größer"}\n'.encode("utf-16"))
    (tmp_path / "mark.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "marked"}\n')
    (tmp_path / "list.json").write_text(json.dumps([{"text": "one"}, {"text": "two"}], indent=2))
    paths = [tmp_path / name for name in ("latin.jsonl", "wide.jsonl", "mark.jsonl", "list.json")]
    books = repair(tmp_path / "out", *paths)
    copies = [Path(copy) for copy in books.files.values()]
    assert [copy.name for copy in copies] == ["latin.jsonl", "wide.jsonl", "mark.jsonl", "list.jsonl"]
    texts = [[row["text"] for row in rows_of(copy)] for copy in copies]
    assert texts == [["café"], ["größer"], ["marked"], ["one", "two"]]
    assert books.edits == {"bom": 1, "encoding": 2}
    assert not [each for each in find(*copies) if each.severity == "error"]


def test_files_of_one_name_keep_their_folders(tmp_path: Path) -> None:
    one = write(tmp_path / "a" / "rows.jsonl", [GOOD])
    two = write(tmp_path / "b" / "rows.jsonl", [pair()])
    books = repair(tmp_path / "out", one, two)
    assert list(books.files.values()) == [str(tmp_path / "out" / name / "rows.jsonl") for name in "ab"]


def test_rows_of_two_splits_that_are_the_same_both_stay(tmp_path: Path) -> None:
    train, test = write(tmp_path / "train.jsonl", [GOOD]), write(tmp_path / "test.jsonl", [GOOD])
    assert repair(tmp_path / "out", train, test).dropped == {}


def test_a_place_that_holds_anything_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "in" / "rows.jsonl", [GOOD])
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    for out in (tmp_path / "in", path, tmp_path / "link"):
        with pytest.raises(UsageError):
            check_out(out, [path], overwrite=False)
    check_out(tmp_path / "new", [path], overwrite=False)


def test_a_repair_that_fails_leaves_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [GOOD])
    with check(CheckTask((path,))) as found:
        path.unlink()
        with pytest.raises(Exception, match="gone"):
            fix(found.sources, tmp_path / "out", listener=Silent(), stop=StopFlag())
    assert list(tmp_path.iterdir()) == []


TEXTS = st.sampled_from(
    ["", " ", "a", "b", "zwei", "schÃ¶n", "x\u200b", "\u200b", "\x07y", "caf\ufffd", "<|im_end|>", 5, None]
)
MESSAGES = st.builds(
    lambda role, content, weight: {"role": role, "content": content, **weight},
    st.sampled_from(["user", "assistant", "system", "tool", "human", 3]),
    TEXTS,
    st.sampled_from([{}, {}, {"weight": 0}, {"weight": 7}]),
)
ROWS = st.one_of(
    st.builds(pair, TEXTS, TEXTS),
    st.builds(lambda text: {"text": text}, TEXTS),
    st.builds(
        lambda messages: {"messages": messages}, st.lists(MESSAGES | st.just(call('"{}"')), max_size=4)
    ),
    st.sampled_from([b"{", b"", b"[1]", b"\xff", b'{"text": "caf\xe9"}', b'{"text": "\\ud800"}', {"x": 1}]),
)


@pytest.mark.slow
@settings(max_examples=60)
@given(st.lists(ROWS, max_size=8))
def test_the_books_balance_and_a_copy_needs_no_second_repair(rows: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write(folder / "rows.jsonl", rows)
        before = path.read_bytes()
        first = repair(folder / "once", path)
        assert path.read_bytes() == before
        copy = folder / "once" / "rows.jsonl"
        mendable = {kind for kind, facts in KINDS.items() if facts.mended}
        assert not mendable & {each.kind for each in find(copy)} - STILL_OPEN
        second = repair(folder / "twice", copy)
        assert (second.edits, second.dropped) == ({}, {})
        assert (folder / "twice" / "rows.jsonl").read_bytes() == copy.read_bytes()
        assert first.rows_kept == second.rows_in


# Told of rows that cannot be read whole as well, which a person has to mend first.
STILL_OPEN = {"last-not-assistant", "no-answer"}
