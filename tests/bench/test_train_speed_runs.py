"""The bench of training speed as it is called: real processes, a model of random weights, Luthier and Trainer with PEFT."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from speed.results import keep, read_results

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.whole]


def bench(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "bench/train_speed.py", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)


def said(done: "subprocess.CompletedProcess[str]") -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


def test_a_row_is_measured_with_luthier_and_a_peer_beside_each_other(scratch: Path, tmp_path: Path) -> None:
    rows, out = tmp_path / "mine.jsonl", tmp_path / "results.json"
    own = [
        {"prompt": f"What is {number} and one?", "completion": f"It is {number + 1}."} for number in range(60)
    ]
    rows.write_text("".join(json.dumps(row) + "\n" for row in own))
    words = ["--row", "tiny", "--contenders", "luthier,hf_trainer,unsloth_packed", "--repeat", "1"]
    sizes = ["--steps", "3", "--warmup", "1", "--data", str(rows), "--scratch", str(scratch)]
    lines = said(bench(*words, *sizes, "--out", str(out)))
    assert [(line["contender"], line["status"]) for line in lines] == [
        ("luthier", "measured"),
        ("hf_trainer", "measured"),
        ("unsloth_packed", "missing"),
    ]
    [entry] = read_results(out)
    assert (
        entry["command"]
        == f"python bench/train_speed.py {' '.join(words)} --steps 3 --warmup 1 --data mine.jsonl"
    )
    assert entry["data"]["source"] == "mine.jsonl"
    assert str(scratch) not in out.read_text("utf-8")
    assert str(tmp_path) not in out.read_text("utf-8")
    assert entry["matmul_flops"] > 1e8
    assert entry["versions"]["torch"]
    for name in ("luthier", "hf_trainer"):
        found = entry["contenders"][name]
        assert found["steps"] == 3
        assert 0 < found["tokens"] <= 3 * 4 * 256
        assert found["tokens_per_second"]["median"] == pytest.approx(found["tokens"] / found["seconds"])
        assert 0 < found["share_of_limit"] < 2, "a loaded machine may slow the product, not twice"
        assert found["first_step_seconds"]["median"] > 0
        # ln(8192): weights are random.
        assert found["first_loss"] == pytest.approx(9.0, abs=0.3)
    assert "unsloth" in entry["contenders"]["unsloth_packed"]["why"]


def test_answers_are_measured_with_luthier_and_generate(scratch: Path, tmp_path: Path) -> None:
    words = ["--row", "tiny-generate", "--contenders", "luthier,generate_padded", "--repeat", "1"]
    lines = said(bench(*words, "--scratch", str(scratch), "--out", str(tmp_path / "results.json")))
    assert [(line["status"], line["tokens"]) for line in lines] == [("measured", 16), ("measured", 16)]


def test_a_process_that_takes_too_long_is_ended_and_said(scratch: Path, tmp_path: Path) -> None:
    words = ["--row", "tiny", "--contenders", "hf_trainer", "--steps", "2000", "--limit-seconds", "6"]
    [line] = said(bench(*words, "--scratch", str(scratch), "--out", str(tmp_path / "results.json")))
    assert line["status"] == "timed_out"


def test_a_call_that_is_ended_takes_its_contender_along(scratch: Path, tmp_path: Path) -> None:
    words = ["--row", "tiny", "--contenders", "hf_trainer", "--steps", "2000", "--scratch", str(scratch)]
    command = [sys.executable, "bench/train_speed.py", *words, "--out", str(tmp_path / "results.json")]
    task = scratch / "tiny" / "hf_trainer" / "task.json"
    task.unlink(missing_ok=True)
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as call:
        wait_until(lambda: task.is_file() and bool(at_work(task)))
        call.terminate()
        assert call.wait(timeout=30) == 128 + signal.SIGTERM
    wait_until(lambda: not at_work(task))


def at_work(task: Path) -> list[str]:
    """Processes whose command line has the task."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(task).encode() in (process / "cmdline").read_bytes():
                found.append(process.name)
    return found


def wait_until(is_so: Callable[[], bool], *, seconds: float = 90) -> None:
    """Raises TimeoutError if it is not so in time."""
    ends = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > ends:
            raise TimeoutError
        time.sleep(0.1)


def test_a_row_or_contender_that_is_none_is_refused(tmp_path: Path) -> None:
    assert "invalid choice" in bench("--row", "nothing").stderr
    done = bench("--row", "tiny", "--contenders", "axolotl", "--out", str(tmp_path / "results.json"))
    assert done.returncode == 1
    assert "tiny has no contender axolotl: luthier, hf_trainer" in done.stdout
    assert "name a row" in bench().stderr


def test_results_of_another_machine_are_taken_in(tmp_path: Path) -> None:
    theirs, out = tmp_path / "theirs.json", tmp_path / "results.json"
    assert "theirs.json is not there" in bench("--merge", str(theirs), "--out", str(out)).stderr
    assert not out.exists()
    keep(theirs, [{"id": "tiny then", "date": "then", "row": "tiny", "contenders": {}}])
    assert (
        "1 entries of theirs.json are in results.json"
        in bench("--merge", str(theirs), "--out", str(out)).stdout
    )
    assert read_results(out) == read_results(theirs)


def test_rows_and_contenders_are_listed_with_what_they_need() -> None:
    text = bench("--list").stdout
    assert "llama8b-lora: Llama-3.1-8B, LoRA r=64, no checkpointing. Needs a GPU of 75 GiB" in text
    assert "(not installed: unsloth)" in text
