"""Every bad line is named with its file and number, nothing crashes the reader, and good lines mean what is written."""

import gzip
import json
import os
import time
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luthier.floor.errors import DataError
from luthier.text.json_lines import LONGEST_LINE_BYTES
from luthier.text.rows import Message, Row, find_files, read_rows

GOOD = b'{"prompt": "p", "completion": "c"}'


def write(folder: Path, content: bytes, name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def fault_of(path: Path, format: str = "prompt_completion") -> DataError:
    with pytest.raises(DataError) as caught:
        list(read_rows([path], format))  # type: ignore[arg-type]
    assert caught.value.exit_code == 3
    assert caught.value.fix
    return caught.value


BAD_LINES = {
    "two_objects_in_one_line": (GOOD + GOOD, "data-json", "more than one value"),
    "an_array": (b'["p", "c"]', "data-json", "the line is an array"),
    "a_number": (b"42", "data-json", "the line is a number"),
    "null": (b"null", "data-json", "the line is null"),
    "a_string": (b'"text"', "data-json", "the line is a string"),
    "random_bytes": (bytes(range(128, 200)), "data-enc", "byte 1 is 0x80"),
    "latin_1": ('{"prompt": "caf\u00e9"}'.encode("latin-1"), "data-enc", "iconv -f LATIN1"),
    "windows_1252": ('{"prompt": "\u201chi\u201d"}'.encode("cp1252"), "data-enc", "iconv -f WINDOWS-1252"),
    "a_nul_byte": (b'{"prompt": "a\0b", "completion": "c"}', "data-json", "NUL byte at byte 14"),
    "a_lone_surrogate": (rb'{"prompt": "a\ud800b", "completion": "c"}', "data-surr", r"\ud800 is half"),
    "a_lone_surrogate_in_an_extra_field": (GOOD[:-1] + rb', "x": [{"y": "\uDC00"}]}', "data-surr", r"\udc00"),
    "nan": (b'{"prompt": "p", "completion": "c", "score": NaN}', "data-json", "NaN is not JSON"),
    "infinity": (
        b'{"prompt": "p", "completion": "c", "score": -Infinity}',
        "data-json",
        "-Infinity is not JSON",
    ),
    "a_number_without_end": (
        GOOD[:-1] + b', "n": ' + b"9" * 400 + b"}",
        "data-json",
        "a number of 400 digits",
    ),
    "a_float_beyond_doubles": (GOOD[:-1] + b', "n": 1e999}', "data-json", "1e999 is too large"),
    "a_key_twice": (
        b'{"prompt": "p", "prompt": "q", "completion": "c"}',
        "data-json",
        "'prompt' occurs twice",
    ),
    "a_trailing_comma": (
        b'{"prompt": "p", "completion": "c",}',
        "data-json",
        "a comma before the closing bracket",
    ),
    "a_comment": (b"// the rows", "data-json", "a comment"),
    "single_quotes": (b"{'prompt': 'p', 'completion': 'c'}", "data-json", "single quotes"),
    "pretty_printed": (b"{", "data-json", "jq -c ."),
    "a_pretty_printed_array": (b"[", "data-json", "jq -c '.[]'"),
    "no_json_at_all": (b"prompt,completion", "data-json", "not JSON"),
    "a_line_over_the_limit": (
        b'{"prompt": "' + b"a" * LONGEST_LINE_BYTES + b'", "completion": "c"}',
        "data-line",
        "longer than 10.0 MiB",
    ),
    "five_thousand_levels": (b'{"x": ' + b"[" * 5000 + b"]" * 5000 + b"}", "data-depth", "deeper than 64"),
    "a_hundred_thousand_levels": (b"[" * 100_000, "data-depth", "deeper than 64"),
    "objects_nested_deep": (b'{"a":' * 70 + b"1" + b"}" * 70, "data-depth", "deeper than 64"),
    "a_missing_field": (b'{"prompt": "p", "completon": "c"}', "data-field", "lacks the field 'completion'"),
    "a_misspelt_field": (b'{"prompt": "p", "completon": "c"}', "data-field", "did you mean completon?"),
    "an_empty_object": (b"{}", "data-field", "the object is empty"),
    "a_number_as_text": (
        b'{"prompt": 7, "completion": "c"}',
        "data-field",
        "'prompt' is the number 7, not text",
    ),
    "null_as_text": (b'{"prompt": "p", "completion": null}', "data-field", "'completion' is null, not text"),
    "an_object_as_text": (b'{"prompt": {"a": 1}, "completion": "c"}', "data-field", "'prompt' is an object"),
    "a_list_as_text": (b'{"prompt": "p", "completion": ["c"]}', "data-field", "'completion' is a list of 1"),
    "a_conversation_as_prompt": (
        b'{"prompt": [{"role": "user", "content": "hi"}], "completion": [{"role": "assistant", "content": "ho"}]}',
        "data-field",
        "put all turns into 'messages'",
    ),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_is_named_with_file_and_number(tmp_path: Path, name: str) -> None:
    line, code, said = BAD_LINES[name]
    path = write(tmp_path, GOOD + b"\n\n" + line + b"\n" + GOOD + b"\n")
    fault = fault_of(path)
    assert fault.code == code
    assert fault.where == f"{path}:3"
    assert said in fault.what


MESSAGES = {
    "no_list": ('{"role": "user"}', "'messages' is an object"),
    "a_turn_that_is_text": ('["hi"]', "messages[0] is 'hi', not an object"),
    "no_role": ('[{"content": "hi"}]', "messages[0] lacks 'role'"),
    "no_content": ('[{"role": "user", "value": "hi"}]', "messages[0] lacks 'content'"),
    "an_unknown_role": ('[{"role": "assistent", "content": "hi"}]', "did you mean assistant?"),
    "a_role_that_is_a_number": ('[{"role": 1, "content": "hi"}]', "messages[0].role is the number 1"),
    "content_null": (
        '[{"role": "user", "content": "a"}, {"role": "assistant", "content": null}]',
        "messages[1].content is null",
    ),
    "content_in_parts": (
        '[{"role": "user", "content": [{"type": "text"}]}]',
        "messages[0].content[0] lacks 'text'",
    ),
    "a_picture": (
        '[{"role": "user", "content": [{"type": "text", "text": "See?"}, {"type": "image_url", "image_url": {}}]}]',
        "messages[0].content[1].type is 'image_url': only text can be learnt",
    ),
    "tool_calls": (
        '[{"role": "assistant", "content": "", "tool_calls": [1]}]',
        "messages[0].tool_calls[0] is the number 1, not an object",
    ),
    "a_call_by_the_user": (
        '[{"role": "user", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}]',
        "messages[0] calls a tool, which only the assistant does",
    ),
    "arguments_encoded_twice": (
        '[{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "\\"{}\\""}}]}]',
        "arguments is JSON encoded twice",
    ),
    "arguments_that_are_a_list": (
        '[{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[]"}}]}]',
        "arguments is a list of 0, not an object",
    ),
    "thinking_apart": (
        '[{"role": "assistant", "content": "a", "reasoning_content": "b"}]',
        "messages[0] has 'reasoning_content', which no row holds",
    ),
    "content_and_refusal": (
        '[{"role": "assistant", "content": "a", "refusal": "b"}]',
        "messages[0] has content and refusal",
    ),
    "a_weight": (
        '[{"role": "assistant", "content": "a", "weight": 0.5}]',
        "messages[0].weight is the number 0.5, neither 0 nor 1",
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_bad_message_is_named_with_its_place(tmp_path: Path, name: str) -> None:
    messages, said = MESSAGES[name]
    path = write(tmp_path, f'{{"messages": {messages}}}\n'.encode())
    fault = fault_of(path, "messages")
    assert (fault.code, fault.where) == ("data-field", f"{path}:1")
    assert said in fault.what


def test_a_cut_off_last_line_is_told_from_other_broken_lines(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD + b"\n" + GOOD[:20])
    fault = fault_of(path)
    assert (fault.code, fault.where) == ("data-trunc", f"{path}:2")
    assert fault_of(write(tmp_path, GOOD[:20] + b"\n" + GOOD)).code == "data-json"


HEADS = {
    "utf_16_with_mark": (
        GOOD.decode().encode("utf-16"),
        "the file is UTF-16, not UTF-8; convert it: iconv -f UTF-16",
    ),
    "utf_16_little_endian": (GOOD.decode().encode("utf-16-le"), "looks like UTF-16LE"),
    "utf_16_big_endian": (GOOD.decode().encode("utf-16-be"), "looks like UTF-16BE"),
    "utf_32": (GOOD.decode().encode("utf-32"), "the file is UTF-32"),
    "gzip": (gzip.compress(GOOD), "a gzip archive, not text; name it so: mv"),
    "xz": (b"\xfd7zXZ\x00rest", "xz archive"),
    "zip": (b"PK\x03\x04rest", "zip archive"),
    "parquet": (b"PAR1rest", "Parquet"),
}


@pytest.mark.parametrize("name", HEADS)
def test_a_file_that_is_no_utf_8_text_is_one_fault(tmp_path: Path, name: str) -> None:
    content, said = HEADS[name]
    path = write(tmp_path, content + b"\n" + GOOD + b"\n")
    fault = fault_of(path)
    assert (fault.code, fault.where) == ("data-enc", str(path))
    assert said in fault.what
    assert not fault.problems


@pytest.mark.parametrize("content", [b"", b"\n\n  \n", b"\xef\xbb\xbf"])
def test_files_without_rows_are_refused(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path, content)
    fault = fault_of(path)
    assert fault.code == "data-empty"
    assert str(path) in fault.what


def test_blank_lines_crlf_and_a_byte_order_mark_are_fine(tmp_path: Path) -> None:
    path = write(tmp_path, b"\xef\xbb\xbf" + GOOD + b"\r\n\r\n  \n" + GOOD)
    rows = list(read_rows([path], "auto"))
    assert [row.origin for row in rows] == [f"{path}:1", f"{path}:4"]
    assert rows[0] == Row("prompt_completion", f"{path}:1", prompt="p", completion="c")


def test_escapes_emoji_and_line_separators_are_kept(tmp_path: Path) -> None:
    text = "a\u2028b\x85c \U0001f600 \ufeff \x7f"
    lines = [json.dumps({"text": text}), json.dumps({"text": text}, ensure_ascii=False)]
    path = write(tmp_path, "\n".join(lines).encode())
    assert [row.text for row in read_rows([path], "text")] == [text, text]


def test_nesting_inside_strings_does_not_count(tmp_path: Path) -> None:
    text = '[{"' * 500 + "\\" + '"'
    path = write(tmp_path, json.dumps({"text": text}).encode())
    assert next(read_rows([path], "text")).text == text


def test_an_unclosed_quote_before_many_brackets_is_judged_quickly(tmp_path: Path) -> None:
    path = write(tmp_path, b'{"text": "' + b'\\"[' * 500_000 + b"\n")  # quadratic in a careless pattern
    started = time.perf_counter()
    assert fault_of(path).code == "data-json"
    assert time.perf_counter() - started < 2


def test_extra_fields_are_let_pass_and_counted(tmp_path: Path) -> None:
    lines = [GOOD[:-1] + b', "id": 1}', GOOD, GOOD[:-1] + b', "id": 2, "lang": {"a": [1.5]}}']
    unused: Counter[str] = Counter()
    rows = list(read_rows([write(tmp_path, b"\n".join(lines))], "auto", unused_fields=unused))
    assert len(rows) == 3
    assert unused == {"id": 2, "lang": 1}


def test_auto_takes_the_first_rows_format_and_refuses_others(tmp_path: Path) -> None:
    messages = b'{"messages": [{"role": "user", "content": "hi"}]}'
    path = write(tmp_path, messages + b"\n" + GOOD + b"\n")
    fault = fault_of(path, "auto")
    assert (fault.code, fault.where) == ("data-field", f"{path}:2")
    assert "lacks the field 'messages' of format messages; it has: prompt, completion" in fault.what
    assert next(read_rows([write(tmp_path, messages)], "auto")).messages == (Message("user", "hi"),)


def test_auto_refuses_a_row_of_two_formats(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD[:-1] + b', "text": "t"}')
    assert "say which to use: data.format=prompt_completion" in fault_of(path, "auto").what
    assert next(read_rows([path], "text")).text == "t"


def test_the_first_twenty_faults_are_listed_and_all_are_counted(tmp_path: Path) -> None:
    first = write(tmp_path, b"\n".join([GOOD, *[b"{}"] * 30]), "a.jsonl")
    second = write(tmp_path, b"nonsense\n", "b.jsonl")
    with pytest.raises(DataError) as caught:
        list(read_rows([first, second], "auto"))
    assert caught.value.what == "the data has 31 faults"
    assert len(caught.value.problems) == 21
    assert caught.value.problems[0].startswith(f"{first}:2: lacks the field")
    assert caught.value.problems[-1] == "... and 11 more"
    assert f"{first}:2" in caught.value.render()


def test_faults_of_several_files_are_listed_together(tmp_path: Path) -> None:
    files = [write(tmp_path, b"nonsense\n", name) for name in ("a.jsonl", "b.jsonl")]
    with pytest.raises(DataError) as caught:
        list(read_rows(files, "auto"))
    assert [problem.split(": ")[0] for problem in caught.value.problems] == [f"{file}:1" for file in files]


def test_a_huge_line_is_refused_without_being_held(tmp_path: Path) -> None:
    path = tmp_path / "huge.jsonl"
    with open(path, "wb") as file:
        file.truncate(60 * 2**20)  # one line of 60 MiB, a hole on the disk
    tracemalloc.start()
    fault = fault_of(path)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert fault.code in ("data-line", "data-enc")
    assert peak_bytes < 2.5 * LONGEST_LINE_BYTES


def test_many_lines_are_streamed(tmp_path: Path) -> None:
    path = write(tmp_path, (GOOD + b"\n") * 20_000)
    tracemalloc.start()
    assert sum(1 for _ in read_rows([path], "auto")) == 20_000
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 2**20


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(content=st.binary(max_size=200))
def test_no_bytes_crash_the_reader(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path, content)
    try:
        rows = list(read_rows([path], "auto"))
    except DataError as fault:
        assert str(path) in fault.render()
    else:
        assert rows


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(rows=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=8), ascii_only=st.booleans())
def test_rows_come_back_as_they_were_written(
    tmp_path: Path, rows: list[tuple[str, str]], ascii_only: bool
) -> None:
    lines = [json.dumps({"prompt": p, "completion": c}, ensure_ascii=ascii_only) for p, c in rows]
    path = write(tmp_path, "\n".join(lines).encode())
    assert [(row.prompt, row.completion) for row in read_rows([path], "auto")] == rows


def test_a_file_that_may_not_be_read_is_an_environment_fault(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(Exception, match="may not read") as caught:
        list(read_rows([path], "auto"))
    assert caught.value.exit_code == 5  # type: ignore[attr-defined]


class TestFindFiles:
    def test_a_pattern_finds_files_in_order_and_not_below(self, tmp_path: Path) -> None:
        (tmp_path / "eval").mkdir()
        for name in ("b.jsonl", "a.jsonl", "notes.txt", "eval/test.jsonl"):
            (tmp_path / name).write_bytes(GOOD)
        assert find_files(tmp_path, "*.jsonl") == [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
        assert len(find_files(tmp_path, "**/*.jsonl")) == 3
        assert find_files(tmp_path / "b.jsonl", "ignored") == [tmp_path / "b.jsonl"]

    def test_a_pattern_that_matches_nothing_shows_what_is_there(self, tmp_path: Path) -> None:
        (tmp_path / "rows.json").write_bytes(GOOD)
        (tmp_path / "rows.csv").write_bytes(b"text\na\n")
        fault = self.fault(tmp_path, "*.jsonl")
        assert fault.code == "data-missing"
        assert "matches '*.jsonl'" in fault.what
        assert "rows.json" in fault.why
        assert fault.fix == "Say which files to read: 'data.pattern=*.csv*' or 'data.pattern=*.json*'"

    def test_a_folder_of_one_other_format_needs_no_pattern(self, tmp_path: Path) -> None:
        for name in ("b.md", "a.markdown", "README.md", "LICENSE", ".hidden.md", "cover.png"):
            (tmp_path / name).write_text("a note")
        (tmp_path / "below").mkdir()
        assert find_files(tmp_path) == [tmp_path / "a.markdown", tmp_path / "b.md"]
        assert self.fault(tmp_path, "*.txt").code == "data-missing", "a pattern of its own means what it says"
        (tmp_path / "c.csv").write_text("text\na\n")
        assert "'data.pattern=*.md*'" in self.fault(tmp_path, "*.jsonl").fix

    def test_files_below_a_folder_are_named_in_the_remedy(self, tmp_path: Path) -> None:
        (tmp_path / "vault").mkdir()
        (tmp_path / "vault" / "note.md").write_text("a note")
        assert self.fault(tmp_path, "*.jsonl").fix == "Say which files to read: 'data.pattern=*/*.md*'"

    def test_a_missing_file_names_the_nearest(self, tmp_path: Path) -> None:
        (tmp_path / "train.jsonl").write_bytes(GOOD)
        fault = self.fault(tmp_path / "trian.jsonl")
        assert fault.code == "data-missing"
        assert f"did you mean {tmp_path / 'train.jsonl'}?" in fault.what

    def test_a_pipe_is_refused(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.jsonl")
        assert self.fault(tmp_path / "pipe.jsonl").code == "data-path"
        assert self.fault(tmp_path).code == "data-path"

    @pytest.mark.parametrize("name", ["/dev/zero", "/dev/null", "/proc/self/environ", "/proc/self/status"])
    def test_what_belongs_to_the_system_is_refused(self, name: str) -> None:
        assert self.fault(Path(name)).code == "data-path"

    def test_a_link_to_a_system_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "rows.jsonl").symlink_to("/proc/self/environ")
        assert self.fault(tmp_path).code == "data-path"

    @pytest.mark.parametrize("pattern", ["../*.jsonl", "/etc/*"])
    def test_a_pattern_does_not_leave_its_folder(self, tmp_path: Path, pattern: str) -> None:
        (tmp_path / "inner").mkdir()
        (tmp_path / "rows.jsonl").write_bytes(GOOD)
        assert self.fault(tmp_path / "inner", pattern).code == "data-path"

    def test_a_link_to_nowhere_is_missing(self, tmp_path: Path) -> None:
        (tmp_path / "rows.jsonl").symlink_to(tmp_path / "gone.jsonl")
        assert self.fault(tmp_path / "rows.jsonl").code == "data-missing"
        assert self.fault(tmp_path).code == "data-missing"

    def fault(self, path: Path, pattern: str = "*.jsonl") -> DataError:
        with pytest.raises(DataError) as caught:
            find_files(path, pattern)
        return caught.value
