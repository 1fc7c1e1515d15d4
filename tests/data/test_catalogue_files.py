"""The catalogue of bad data files, each through `luthier prepare`: one message with the fault's word and place, and nothing written.

The numbers are those of the design's catalogue (60 items); an item may need several cases. What takes a lot of memory or time
where nobody looks out is in test_catalogue_sizes.py, by the same numbers. What the program does otherwise than the catalogue
wants stands beside the case.
"""

import contextlib
import gzip
import os
import random
import socket
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.workshop import Done, listing, luthier
from tests.data import test_catalogue_sizes as sizes
from tests.data.spoilt_files import (
    ROW,
    arrow_file,
    behind_good,
    columns,
    encrypted,
    flipped,
    lines,
    pair,
    parquet,
    tar,
    zipped,
)

# Whole commands, some ninety of them: out of the quick suite, which has a minute and a half.
pytestmark = pytest.mark.whole

pyarrow = pytest.importorskip("pyarrow", reason="the extra formats is not installed")

UMLAUT = '{"prompt": "Gr\xfcn?", "completion": "a"}\n'
CHAT = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]}


@dataclass(frozen=True)
class Case:
    number: int
    name: str
    content: bytes | Callable[[], bytes]
    code: str
    place: str
    """Behind the file's name, or the whole of it where it is a key."""
    parts: tuple[str, ...]
    words: tuple[str, ...] = ()
    exit_code: int = 3

    def __str__(self) -> str:
        return f"{self.number}-{self.name}-{self.code}"


def table() -> bytes:
    """A Parquet file that is long enough to be spoilt in its middle."""
    return parquet(
        columns(prompt=[f"q{n}" for n in range(200)], completion=[f"{n * 7919}" for n in range(200)])
    )


def identifiers() -> bytes:
    """An Arrow file with a column of an extension type."""
    stored = pyarrow.array([b"x" * 16], pyarrow.binary(16))
    return arrow_file(
        columns(prompt=["a"], completion=pyarrow.ExtensionArray.from_storage(pyarrow.uuid(), stored))
    )


REFUSED = [
    # No flag skips a bad tail: `luthier data check --fix` writes a copy without it, and a ledger that says so.
    Case(1, "r.jsonl", ROW + b'{"prompt": "x", "compl', "data-trunc", ":2", ("last line is cut off", "fetch the file again")),
    Case(4, "r.jsonl", UMLAUT.encode("utf-16"), "data-enc", "", ("UTF-16", "iconv -f UTF-16 -t UTF-8 data/r.jsonl")),
    Case(4, "r.jsonl", UMLAUT.encode("utf-16-le"), "data-enc", "", ("looks like UTF-16LE", "iconv")),
    Case(5, "r.jsonl", ROW + UMLAUT.encode("latin-1"), "data-enc", ":2", ("byte 15 is 0xFC", "iconv -f LATIN1 -t UTF-8 data/r.jsonl")),
    Case(6, "r.jsonl", behind_good(b'{"prompt": "a\0b", "completion": "x"}'), "data-json", ":2", ("NUL byte at byte 14",)),
    Case(8, "r.jsonl", behind_good(b'{"prompt": "\\ud800", "completion": "x"}'), "data-surr", ":2", (r"\ud800", "half of a surrogate pair")),
    Case(9, "r.jsonl", behind_good(b'{"prompt": "a", "completion": NaN}'), "data-json", ":2", ("NaN is not JSON", "null")),
    Case(9, "r.jsonl", behind_good(b'{"prompt": "a", "completion": "b", "x": -Infinity}'), "data-json", ":2", ("-Infinity is not JSON",)),
    Case(10, "r.jsonl", behind_good(b'{"prompt": "a", "prompt": "b", "completion": "x"}'), "data-json", ":2", ("'prompt' occurs twice",)),
    Case(11, "r.jsonl", lines({"text": "a"}, {"text": 5}), "data-field", ":2", ("'text' is the number 5, not text",)),
    Case(12, "r.jsonl", lines({"text": "a"}, {"text": {"a": 1}}), "data-field", ":2", ("'text' is an object, not text",)),
    Case(13, "r.jsonl", lines(pair(), {"prompt": "a"}, {"prompt": "c"}), "data-field", ":2", ("2 faults", "lacks the field 'completion'", "r.jsonl:3")),
    Case(15, "r.jsonl", behind_good(b"[1,2]"), "data-json", ":2", ("the line is an array; a row is an object",)),
    Case(16, "r.jsonl", behind_good(b"42"), "data-json", ":2", ("the line is a number; a row is an object",)),
    Case(17, "r.jsonl", b"", "data-empty", "", ("there is no row in data/r.jsonl", "one row a line")),
    Case(17, "r.jsonl", b"\n \n\t\n", "data-empty", "", ("there is no row in data/r.jsonl",)),
    Case(18, "r.jsonl", random.Random(1).randbytes(4000), "data-json", ":1", ("18 faults", "damaged or no text")),
    Case(19, "r.jsonl", behind_good(b'{"a":' * 5000 + b"1" + b"}" * 5000), "data-depth", ":2", ("deeper than 64 levels at byte 321",)),
    Case(21, "r.jsonl", behind_good(b'{"prompt": "a", "completion": ' + b"9" * 400 + b"}"), "data-json", ":2", ("a number of 400 digits", "as text")),
    Case(21, "r.jsonl", behind_good(b'{"prompt": "a", "completion": 1e999}'), "data-json", ":2", ("1e999 is too large", "as text")),
    Case(24, "r.jsonl", ROW.strip() + ROW, "data-json", ":1", ("more than one value in the line (column 47)",)),
    Case(25, "r.jsonl", behind_good(b'{"prompt": "a", "completion": "b",}'), "data-json", ":2", ("a comma before the closing bracket",)),
    Case(25, "r.jsonl", b"// colours\n" + ROW, "data-json", ":1", ("a comment; JSON has none",)),
    Case(25, "r.jsonl", behind_good(b"{'prompt': 'a'}"), "data-json", ":2", ("single quotes at column 2",)),
    Case(26, "r.jsonl", b'{\n "prompt": "a",\n "completion": "b"\n}', "data-json", ":1", ("spread over lines", "jq -c . data/r.jsonl")),
    # Known by its first bytes, and not read: what a file is follows from its name alone, so that two readers never disagree.
    Case(27, "r.jsonl", lambda: gzip.compress(ROW), "data-enc", "", ("a gzip archive", "mv data/r.jsonl data/r.jsonl.gz")),
    Case(27, "r.jsonl", table, "data-enc", "", ("a Parquet table", "mv data/r.jsonl data/r.parquet")),
    Case(28, "r.json", b"[\n" + ROW.strip() + b',\n{"prompt": "x"', "data-trunc", ":3", ("ends inside record 2, which begins on line 3",)),
    Case(28, "r.json", b"[\n" + ROW.strip() + b",\n", "data-trunc", ":3", ("ends before its array does",)),
    Case(29, "r.json", b'{"prompt": ["a", "b"], "completion": ["c", "d"]}', "data-field", ":1", ("'prompt' is a list of 2", "a column of all rows")),
    Case(30, "r.json", b'{"data": [{"prompt": "a", "completion": "b"}]}', "data-field", ":1", ("it has: data", "jq -c '.[\"data\"][]'")),
    Case(30, "r.json", b'{"v": 1, "rows": [\n{"text": "a"}\n]}', "data-field", "#row 1", ("it has: v, rows", "jq -c '.[\"rows\"][]'")),
    Case(31, "r.csv", b'prompt,completion\na,b\n"c,d\ne,f\n', "data-csv", ":3", ("a quotation mark that opens a field here is not closed by line 4",)),
    Case(32, "r.csv", b"prompt,completion\na,b\nc,d,e\ng\n", "data-csv", ":3", ("3 fields, and the header has 2", "r.csv:4: 1 fields")),
    Case(33, "r.csv", b"", "data-empty", "", ("there is no row",)),
    Case(34, "r.csv", b"prompt,completion\n", "data-empty", "", ("there is no row",)),
    Case(35, "r.csv", b"prompt,completion\na,b\0c\n", "data-csv", ":2", ("a NUL byte at byte 4",)),
    Case(36, "r.csv", "prompt,completion\na,Gr\xfcn\n".encode("latin-1"), "data-enc", ":2", ("byte 5 is 0xFC", "iconv -f LATIN1")),
    Case(37, "r.csv", b"prompt,completion,prompt\na,b,c\n", "data-csv", ":1", ("the column 'prompt' twice",)),
    Case(41, "r.parquet", b"not parquet at all", "data-table", "", ("not readable as a table", "not a parquet file")),
    Case(41, "r.arrow", b"not arrow at all", "data-table", "", ("not readable as a table",)),
    Case(42, "r.parquet", lambda: table()[:-20], "data-table", "", ("not readable as a table", "fetch the file again")),
    Case(43, "r.parquet", lambda: flipped(table(), 60), "data-table", "", ("not readable as a table", "fetch the file again")),
    Case(44, "r.parquet", b"", "data-table", "", ("0 bytes",)),
    Case(44, "r.parquet", lambda: parquet(columns(prompt=["a"], completion=["b"]).slice(0, 0)), "data-empty", "", ("there is no row",)),
    Case(44, "r.arrow", b"", "data-table", "", ("not readable as a table",)),
    Case(45, "r.parquet", lambda: parquet(columns(prompt=["a"], completion=[b"\x80\x04K\x01."])), "data-field", "#row 1", ("'completion' is 5 raw bytes, not text",)),
    Case(45, "r.arrow", identifiers, "data-field", "#row 1", ("'completion' is the UUID 7878", "not text")),
    Case(46, "r.parquet", lambda: parquet(columns(**{f"c{n}": ["a"] for n in range(10_001)})), "data-table", "", ("has 10001 columns",)),
    Case(46, "r.arrow", lambda: arrow_file(columns(prompt=pyarrow.nulls(10**9))), "data-table", "", ("declares 1,000,000,000 rows in ", ": a bomb")),
    Case(47, "r.txt", "Gr\xfcn\n".encode("latin-1"), "data-enc", "", ("byte 3 is 0xFC", "iconv -f LATIN1 -t UTF-8 data/r.txt")),
    Case(48, "r.txt", b"", "data-untrained", "*", ("none of the 1 training row", "empty text")),
    Case(50, "r.jsonl.gz", lambda: gzip.compress(ROW * 100)[:-20], "data-archive", ":*", ("cut off; fetch it again",)),
    Case(52, "r.tar", tar(("../../evil.txt", b"x"), ("ok.txt", b"fine")), "data-archive", "!../../evil.txt", ("its name leaves the folder",)),
    Case(52, "r.tar", tar(("/etc/evil.txt", b"x")), "data-archive", "!/etc/evil.txt", ("its name leaves the folder",)),
    Case(53, "r.tar", tar(("a.txt", b""), kind=tarfile.SYMTYPE), "data-archive", "!a.txt", ("a link or a device",)),
    Case(53, "r.tar", tar(("a.txt", b""), kind=tarfile.LNKTYPE), "data-archive", "!a.txt", ("a link or a device",)),
    Case(53, "r.tar", tar(("a.txt", b""), kind=tarfile.CHRTYPE), "data-archive", "!a.txt", ("a link or a device",)),
    Case(54, "r.tar", tar(("a.tar", tar(("b.txt", b"x"))), ("b.zip", b"PK")), "data-empty", "", ("Passed over: 1 members *.tar, 1 members *.zip",)),
    Case(54, "r.zip", encrypted(zipped({"r.jsonl": ROW})), "data-enc", "", ("a zip archive, not text; unpack it: unzip data/r.zip",)),
    Case(56, "r.jsonl", lines(CHAT), "data-untrained", "*", ("none of the 1 training row has a token that carries loss", "no trained token")),
    Case(57, "r.jsonl", lines(pair(completion="b " * 500), pair("c")), "data-long", "data.max_length", ("trained tokens", "data.overlong=drop", "data.max_length="), ("data.max_length=64",)),
    # Asked for in the recipe, since it costs a reading of its own; `luthier data check` of both files needs no asking.
    Case(58, "r.jsonl", lines(pair("What colour is the sky of Mars?")), "data-leak", "data.leaks", ("r.jsonl:1: folded: test.jsonl:1",), ("data.validation_path=test.jsonl", "data.leaks.validation=true", "data.leaks.found=refuse")),
    Case(58, "r.jsonl", lines(pair("what COLOUR is the sky of mars?!", "pink")), "data-leak", "data.leaks", ("r.jsonl:1: exact: test.jsonl:1",), ("data.validation_path=test.jsonl", "data.leaks.validation=true", "data.leaks.found=refuse")),
    Case(60, "r.jsonl", ROW, "cfg-unknown", "command line", ("data.trust_remote_code is not a setting",), ("data.trust_remote_code=true",), 2),
    Case(60, "r.jsonl", ROW, "cfg-range", "command line", ("not an address: nothing is fetched",), ("data.path=https://example.org/r.jsonl",), 2),
    Case(60, "r.jsonl", ROW, "data-missing", "data.pattern", ("no file in data matches '*.nope'", "The folder holds: r.jsonl"), ("data.path=data", "data.pattern=*.nope")),
    Case(60, "r.jsonl", ROW, "data-path", "data.pattern", ("'../*.yaml' leaves the folder data",), ("data.path=data", "data.pattern=../*.yaml")),
    Case(60, "r.jsonl", ROW, "data-hub", "*", ("owner/name could not be read",), ("data.path=owner/name",)),
]  # fmt: skip


@dataclass(frozen=True)
class Accepted:
    number: int
    name: str
    content: bytes
    rows: int
    said: tuple[str, ...] = ()
    """Pieces of what is told on the way."""
    texts: tuple[str, ...] = ()
    """Pieces of the rows as they are learnt."""

    def __str__(self) -> str:
        return f"{self.number}-{self.name}"


ACCEPTED = [
    Accepted(2, "r.jsonl", b"\n" + ROW + b"  \n\n" + lines(pair()), 2),
    Accepted(3, "r.jsonl", b"\xef\xbb\xbf" + ROW, 1, texts=("Colour 1?",)),
    Accepted(7, "r.jsonl", ROW.replace(b"\n", b"\r\n") * 2, 2, texts=("green",)),
    Accepted(14, "r.jsonl", lines(pair(extra=1), pair()), 2, ("fields that are not used: extra (1 row)",)),
    Accepted(29, "r.json", b'[{"prompt": "a", "completion": "b"},\n {"prompt": "c", "completion": "d"}]', 2),
    Accepted(38, "r.csv", b"prompt;completion\na;b\n", 1, texts=("a\nb",)),
    # Nothing that Luthier writes is a table for a spreadsheet, so that no formula needs escaping on its way out.
    Accepted(39, "r.csv", b'prompt,completion\nx,"=HYPERLINK(""http://a"")"\n', 1, texts=('=HYPERLINK("http://a")',)),
    Accepted(40, "r.csv", b"id,prompt,completion\n007,007,1e5\n", 1, texts=("007\n1e5",)),
    Accepted(50, "r.jsonl.gz", gzip.compress(ROW * 100, mtime=0), 100),
    Accepted(55, "r.jsonl", lines(pair(""), pair(completion=" \t"), pair()), 1, ("1 of 3 rows left out: empty completion", "1 of 3 rows left out: empty prompt")),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, tiny_base: Path) -> Path:
    """A recipe over a folder for data, and rows to judge by beside it."""
    settings = f"model_name: {tiny_base}\ndata:\n  path: data\n  validation_fraction: 0\n"
    (tmp_path / "mine.yaml").write_text(settings)
    (tmp_path / "test.jsonl").write_bytes(lines(pair("what COLOUR is the sky of mars?!", "pink")))
    (tmp_path / "data").mkdir()
    return tmp_path


def prepare(folder: Path, name: str, *words: str) -> Done:
    path = [] if any(word.startswith("data.path=") for word in words) else [f"data.path=data/{name}"]
    return luthier(folder, "prepare", "mine.yaml", *path, *words, "--json")


def written(folder: Path) -> dict[str, str]:
    """What lies in the folder, but for the lock files of a run that was opened and given up."""
    return listing(folder, apart_from=lambda name: name.endswith(".lock"))


def assert_refused(done: Done, code: str, place: str, parts: tuple[str, ...], exit_code: int = 3) -> None:
    assert done.code == exit_code, done.err
    error = done.json["error"]
    assert error["code"] == code, done.err
    if place.endswith("*"):
        assert error["where"].startswith(place[:-1]) or error["problems"], done.err
    else:
        assert error["where"] == place, done.err
    assert [part for part in parts if part not in done.err] == [], done.err
    assert len(done.err) < 6000, "a message is read by people"
    assert "Traceback" not in done.said


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_a_bad_file_is_refused_with_its_word_and_place(case: Case, folder: Path) -> None:
    content = case.content if isinstance(case.content, bytes) else case.content()
    (folder / "data" / case.name).write_bytes(content)
    before = written(folder)
    done = prepare(folder, case.name, *case.words)
    is_key = not case.place.startswith((":", "#", "!")) and case.place
    place = case.place if is_key else f"data/{case.name}{case.place}"
    assert_refused(done, case.code, place, case.parts, case.exit_code)
    after = written(folder)
    assert {name: after.get(name) for name in before} == before, "the data is as it was"
    more = after.keys() - before.keys()
    assert all(name.startswith("outputs/") for name in more)
    assert not [name for name in more if name.endswith(("report.json", ".bin", "prepared.json"))], (
        "nothing was prepared"
    )


@pytest.mark.parametrize("case", ACCEPTED, ids=str)
def test_an_odd_file_is_read_and_means_what_is_written(case: Accepted, folder: Path) -> None:
    (folder / "data" / case.name).write_bytes(case.content)
    done = prepare(folder, case.name)
    assert done.code == 0, done.err
    assert done.json["train"]["rows_kept"] == case.rows
    assert [part for part in case.said if part not in done.err] == []
    assert done.err.count("prepare ") <= 3, "progress is told a few times, not once a row"
    if case.texts:
        shown = luthier(
            folder, "data", "show", "mine.yaml", f"data.path=data/{case.name}", "--row", "0", "--json"
        )
        learnt = "".join(segment["text"] for segment in shown.json["rows"][0]["segments"])
        assert [text for text in case.texts if text not in learnt] == [], learnt


SPECIAL = ("an-empty-folder", "pipe", "socket", "device", "system", "link-to-system", "gone")


@pytest.mark.parametrize("kind", SPECIAL)
def test_a_place_that_is_no_file_of_rows_is_refused_unread(kind: str, folder: Path) -> None:
    """Item 59."""
    data = folder / "data"
    path, code, part = "data/r.jsonl", "data-path", "no regular file"
    if kind == "an-empty-folder":
        path, code, part = "data", "data-missing", "It is empty"
    elif kind == "pipe":
        os.mkfifo(data / "r.jsonl")
    elif kind == "socket":
        with (
            contextlib.chdir(data),
            socket.socket(socket.AF_UNIX) as server,
        ):  # its path may be 108 bytes long
            server.bind("r.jsonl")
    elif kind == "device":
        path = "/dev/zero"
    elif kind == "system":
        path, part = "/proc/self/environ", "belongs to the system"
    elif kind == "link-to-system":
        (data / "r.jsonl").symlink_to("/proc/self/environ")
        part = "belongs to the system"
    else:
        code, part = "data-missing", "there is no data/r.jsonl"
    where = {"an-empty-folder": "data.pattern", "gone": "data.path"}.get(kind, path)
    assert_refused(prepare(folder, "r.jsonl", f"data.path={path}"), code, where, (part,))


def test_every_item_of_the_catalogue_has_a_case() -> None:
    here = {case.number for case in REFUSED} | {case.number for case in ACCEPTED} | {59}
    assert here | set(sizes.NUMBERS) == set(range(1, 61))
