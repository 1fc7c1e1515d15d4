"""Those bad data files that took gigabytes, hours or the process down elsewhere: each in a process of its own, whose peak is measured.

The numbers are those of the design's catalogue of bad data files; the rest of it is in test_catalogue_files.py.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.data.spoilt_files import ROW, gzip_bomb, lines, pair, zipped

pytestmark = [pytest.mark.slow, pytest.mark.whole]

MEBI = 2**20
# Runs a command line and tells, behind all else, how much memory the process took at most.
RUN = """
import sys
from luthier.cli.app import run_command
code = run_command(sys.argv[1:])
with open("/proc/self/status") as file:
    peak = next(line.split()[1] for line in file if line.startswith("VmHWM"))
print(peak, file=sys.stderr)
sys.exit(code)
"""


@dataclass(frozen=True)
class Case:
    number: int
    name: str
    write: Callable[[Path], object]
    code: str
    """Nothing where the file is read."""
    place: str
    parts: tuple[str, ...]
    most_seconds: float = 150.0
    verb: str = "prepare"

    def __str__(self) -> str:
        return f"{self.number}-{self.name}-{self.code or 'read'}"


def one_line(mebibytes: int, begin: bytes, end: bytes = b'"}\n') -> Callable[[Path], object]:
    """A good row, a line of so many MiB, a bad row."""

    def write(path: Path) -> None:
        with open(path, "wb") as file:
            file.write(ROW + begin)
            for _ in range(mebibytes):
                file.write(b"x" * MEBI)
            file.write(end + b"5\n")

    return write


def long_record(path: Path) -> None:
    """An array of a good record and one of 200 MiB."""
    with open(path, "wb") as file:
        file.write(b"[\n" + ROW.rstrip() + b",\n" + b'{"prompt": "')
        for _ in range(200):
            file.write(b"x" * MEBI)
        file.write(b'"}\n]\n')


def sparse(gibibytes: int) -> Callable[[Path], object]:
    """A file of zeros that takes no room."""

    def write(path: Path) -> None:
        with open(path, "wb") as file:
            file.truncate(gibibytes * 2**30)

    return write


def text_line(path: Path) -> None:
    """A line of 1 GiB of text: a good beginning, and a hole behind it."""
    path.write_bytes(b"A long text. " * 3_000_000)
    with open(path, "r+b") as file:
        file.truncate(2**30)


def nested(path: Path) -> None:
    path.write_bytes(ROW + b"[" * 100_000 + b"]" * 100_000 + b"\n" + b'{"a":' * 100_000 + b"\n")


def tiny_lines(path: Path) -> None:
    with open(path, "wb") as file:
        for _ in range(300):
            file.write(b"{}\n" * 1000)


def many_rows(path: Path) -> None:
    path.write_bytes(lines(*(pair(f"{number}?") for number in range(60_000))))


def many_members(path: Path) -> None:
    talk = json.dumps(
        [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}]
    )
    path.write_bytes(
        zipped({f"{number:06}.txt": b"" for number in range(100_000)} | {"rows.json": talk.encode()})
    )


CASES = [
    Case(20, "r.jsonl", nested, "data-depth", "data/r.jsonl:2", ("deeper than 64 levels", "data/r.jsonl:3")),
    Case(22, "r.jsonl", one_line(60, b'{"prompt": "'), "data-line", "data/r.jsonl:2", ("longer than 10.0 MiB", "data/r.jsonl:3: the line is a number")),
    Case(22, "r.jsonl", one_line(200, b'{"prompt": "'), "data-line", "data/r.jsonl:2", ("longer than 10.0 MiB", "data/r.jsonl:3: the line is a number")),
    Case(22, "r.json", long_record, "data-line", "data/r.json#row 2", ("longer than 10.0 MiB", "the record begins on line 3")),
    Case(22, "r.csv", one_line(200, b'"'), "data-line", "data/r.csv:2", ("longer than 10.0 MiB",)),
    Case(23, "r.jsonl", tiny_lines, "data-field", "data/r.jsonl:1", ("300000 faults", "and 299980 more")),
    Case(23, "r.jsonl", many_rows, "", "", ('"rows_kept": 60000',)),
    Case(49, "r.txt", text_line, "data-line", "data/r.txt", ("longer than 32.0 MiB", "cut it into several files")),
    Case(49, "r.jsonl", sparse(1), "data-line", "data/r.jsonl:1", ("longer than 10.0 MiB",)),
    Case(51, "r.jsonl.gz", lambda path: path.write_bytes(gzip_bomb()), "data-archive", "data/r.jsonl.gz:1", ("a bomb",)),
    Case(51, "r.txt.gz", lambda path: path.write_bytes(gzip_bomb()), "data-line", "data/r.txt.gz", ("longer than 32.0 MiB",)),
    Case(54, "r.zip", many_members, "", "", ('"rows": 1,',), verb="convert"),
]  # fmt: skip
NUMBERS = {case.number for case in CASES}
# Beside the program itself. Measured: 85 MiB for the record in an array, 45 MiB for the bomb that is one text, 26 MiB and less
# for all others.
MOST_BYTES_MORE = 150 * MEBI


def run(folder: Path, name: str, verb: str) -> tuple[int, str, int]:
    """Exit code, what was said on standard error, and the peak in bytes."""
    words = ["prepare", "mine.yaml", f"data.path=data/{name}"]
    if verb == "convert":
        words = ["data", "convert", f"data/{name}", "--out", "out.jsonl"]
    ran = subprocess.run(
        [sys.executable, "-c", RUN, *words, "--json"], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )  # fmt: skip
    *said, peak = ran.stderr.splitlines()
    return ran.returncode, "\n".join(said) + ran.stdout, int(peak) * 1024


@pytest.fixture(scope="module")
def usual_bytes(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> int:
    """What the program takes for one row."""
    folder = make_folder(tmp_path_factory.mktemp("usual"), tiny_base)
    (folder / "data" / "r.jsonl").write_bytes(ROW)
    code, said, peak = run(folder, "r.jsonl", "prepare")
    assert code == 0, said
    return peak


def make_folder(folder: Path, base: Path) -> Path:
    (folder / "mine.yaml").write_text(f"model_name: {base}\ndata:\n  validation_fraction: 0\n")
    (folder / "data").mkdir()
    return folder


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_huge_or_deep_file_costs_neither_memory_nor_time(
    case: Case, usual_bytes: int, tmp_path: Path, tiny_base: Path
) -> None:
    folder = make_folder(tmp_path, tiny_base)
    case.write(folder / "data" / case.name)
    started = time.monotonic()
    code, said, peak = run(folder, case.name, case.verb)
    seconds = time.monotonic() - started
    assert code == (3 if case.code else 0), said[-3000:]
    if case.code:
        assert f"error[{case.code}]" in said
        assert f"  at {case.place}\n" in said
        assert not list(folder.rglob("*.bin")), "nothing was prepared"
    assert [part for part in case.parts if part not in said] == [], said[-3000:]
    assert peak - usual_bytes < MOST_BYTES_MORE, (
        f"{(peak - usual_bytes) / MEBI:.0f} MiB more than for one row"
    )
    assert seconds < case.most_seconds
