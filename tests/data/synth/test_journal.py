"""The journal outlives the process: killed at any moment, no answer that came is asked for again."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.synth.journal import Journal
from luthier.data.synth.judge import Judge
from luthier.data.synth.task import Checks
from luthier.floor.errors import DataError, UsageError
from tests.data.synth.asking_for import ANSWERS, TOPICS, make_task, rows_of, topic_of
from tests.data.synth.endpoint_server import Asked, Reply, endpoint

HEADER = {"model": "m"}


def journal(path: Path) -> Journal:
    return Journal(path, Judge(Checks()), attempts=3)


def record(key: str, text: str = "yes") -> dict[str, Any]:
    usage = {"prompt_tokens": 2, "completion_tokens": 1}
    return {
        "key": key, "status": "answered", "text": text, "finish_reason": "stop", "refusal": None, "model": "m", "usage": usage,
    }  # fmt: skip


@given(cut=st.integers(1, 400))
@settings(max_examples=40, deadline=None)
def test_cut_anywhere_the_whole_answers_before_the_cut_are_kept(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = tmp_path_factory.mktemp("journal") / "rows.journal"
    with journal(path).open(HEADER) as written:
        ends = [path.stat().st_size]
        for key in "abc":
            written.add(record(key))
            ends.append(path.stat().st_size)
    content = path.read_bytes()[:cut]
    path.write_bytes(content)
    whole = sum(end <= len(content) for end in ends[1:])
    with journal(path).open(HEADER) as found:
        assert list(found.asked) == list("abc")[:whole]
        assert found.spent.total == 3 * whole
        found.add(record("d"))
    with journal(path).open(HEADER) as again:
        assert list(again.asked) == [*"abc"[:whole], "d"]
        assert (again.read("d") or {})["text"] == "yes"


def test_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "rows.journal"
    with journal(path).open(HEADER), pytest.raises(UsageError, match="another process") as raised:
        journal(path).open(HEADER)
    assert raised.value.code == "run-locked"


@pytest.mark.parametrize("line", [b"{}", b"[1]", b"nonsense", b'{"key": "a"}', b"[" * 5000, b"\xff"])
def test_a_damaged_line_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "rows.journal"
    with journal(path).open(HEADER) as written:
        written.add(record("a"))
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(DataError, match="damaged") as raised:
        journal(path).open(HEADER)
    assert raised.value.where == f"{path}:3"


def test_another_file_is_not_taken_for_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "rows.journal"
    path.write_text("a diary\n")
    with pytest.raises(DataError):
        journal(path).open(HEADER)
    assert path.read_text() == "a diary\n"


@pytest.mark.slow
def test_killed_and_typed_again_it_asks_for_the_rest_only(tmp_path: Path) -> None:
    is_killed = threading.Event()

    def choose(asked: Asked, before: int) -> Reply:
        if topic_of(asked.prompt) in TOPICS[3:]:
            is_killed.wait(60)
        return Reply(ANSWERS[topic_of(asked.prompt)])

    with endpoint(choose) as server:
        task = make_task(tmp_path, server.address)
        words = [
            "data",
            "synth",
            str(task.template),
            "--seeds",
            str(task.seeds),
            "--endpoint",
            server.address,
        ]
        words += ["--model", "tiny", "--out", str(task.out), "--json"]
        command = [sys.executable, "-m", "luthier", *words]
        first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        path = tmp_path / "rows.journal"
        until = time.monotonic() + 60
        while not (path.exists() and path.read_bytes().count(b"\n") >= 4):
            assert time.monotonic() < until, "three answers came"
            time.sleep(0.05)
        os.kill(first.pid, signal.SIGKILL)
        first.communicate()
        is_killed.set()
        assert not task.out.exists()
        again = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert again.returncode == 0, again.stderr
    report = json.loads(again.stdout)
    assert (report["rows"], report["requests"], report["answers"]) == (6, 3, 6)
    assert [row["completion"] for row in rows_of(task.out)] == [ANSWERS[topic] for topic in TOPICS]
    for topic in TOPICS[:3]:
        assert sum(topic_of(asked.prompt) == topic for asked in server.asked) == 1
