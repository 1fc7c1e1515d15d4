"""`luthier serve` as a process of its own: it is started, asked, told to stop, and its engine is killed under it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from openai import OpenAI

from luthier.floor.rundir import RunDir
from tests.serve.conftest import BASE, TUNED

# The engine's process takes seconds to start.
pytestmark = pytest.mark.slow

START_S = 60
HELLO = {"messages": [{"role": "user", "content": "Hello"}], "temperature": 0}
# Long enough to be under way while a test does something else; the base never ends it by itself.
LONG = HELLO | {"max_tokens": 400, "model": BASE, "stream": True}


class Command:
    """A server that runs, and what it said."""

    def __init__(self, process: subprocess.Popen[str], said: dict[str, str]) -> None:
        self.process = process
        self.url = said["url"]
        self.http = httpx.Client(base_url=self.url.removesuffix("/v1"), timeout=30)

    @property
    def engine_pid(self) -> int:
        """The process of the model, the only one that the server started."""
        (pid,) = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(pid)

    def chat(self, **fields: object) -> httpx.Response:
        return self.http.post("/v1/chat/completions", json=HELLO | {"model": TUNED, "max_tokens": 4} | fields)

    def is_ready(self) -> bool:
        return self.http.get("/ready").status_code == 200

    def ended(self) -> tuple[int, str]:
        """Wait for its end: the exit code, and all that it said to people."""
        _, err = self.process.communicate(timeout=20)
        return self.process.returncode, err


@contextmanager
def served(*words: str) -> Iterator[Command]:
    """`luthier serve` with `words` on a free port, listening."""
    process = luthier("serve", *words, "serve.port=0", "serve.threads=1", "--json")
    assert process.stdout
    try:
        said = ""
        while not said.endswith("}\n"):
            line = process.stdout.readline()
            assert line, process.communicate(timeout=START_S)[1]
            said += line
        yield Command(process, json.loads(said))
    finally:
        process.kill()
        process.wait()


def luthier(*words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "luthier", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def refusal(*words: str) -> tuple[int, str]:
    """The exit code and the words of a server that does not start."""
    process = luthier("serve", *words)
    _, err = process.communicate(timeout=START_S)
    return process.returncode, err


def until(is_so: Callable[[], bool], *, seconds: float = 20) -> None:
    ends = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < ends, "it never came"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def command(adapter_run: RunDir) -> Iterator[Command]:
    """One server for the tests of this file: it takes seconds to load, and only the last of them ends it."""
    with served(str(adapter_run.path)) as found:
        yield found


def test_a_port_in_use_is_said_before_anything_is_loaded() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, err = refusal("embedded", f"serve.port={port}")
    assert code == 5
    assert f"error[env-port]: port {port} of 127.0.0.1 is taken by another program" in err
    assert f"serve.port={port + 1}" in err


def test_an_open_address_without_keys_is_refused_with_the_line_to_type() -> None:
    code, err = refusal("embedded", "serve.host=0.0.0.0", "serve.port=0")
    assert code == 2
    assert "luthier keys new NAME\n" in err
    assert "luthier serve embedded serve.host=0.0.0.0 serve.keys=keys.json" in err


def test_an_engine_that_is_killed_is_started_anew(command: Command) -> None:
    first = command.chat().json()["choices"]
    killed = command.engine_pid
    with command.http.stream("POST", "/v1/chat/completions", json=LONG) as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith("data: {")
        os.kill(killed, signal.SIGKILL)
        rest = [line for line in lines if line]
    # Whoever was answered hears that it failed, and no end is made up.
    assert json.loads(rest[-1].removeprefix("data: "))["error"]["code"] == "api-engine"
    assert "data: [DONE]" not in rest
    until(command.is_ready)
    assert command.chat().json()["choices"] == first
    assert command.engine_pid != killed
    assert "luthier_engine_restarts 1.0" in command.http.get("/metrics").text


def test_sigterm_lets_an_answer_end_refuses_new_ones_and_exits_with_0(command: Command) -> None:
    until(command.is_ready)
    engine = command.engine_pid
    assert command.chat().json()["usage"]["completion_tokens"] == 4
    client = OpenAI(base_url=command.url, api_key="none", max_retries=0)
    stream = client.chat.completions.create(**LONG, stream_options={"include_usage": True})
    next(stream)
    command.process.send_signal(signal.SIGTERM)
    until(lambda: not command.is_ready(), seconds=2)
    late = command.chat()
    assert (late.status_code, late.json()["error"]["code"]) == (503, "api-draining")
    assert int(late.headers["retry-after"]) > 0
    *_, last, usage = stream
    assert last.choices[0].finish_reason == "length"
    assert usage.usage.completion_tokens == LONG["max_tokens"]
    code, err = command.ended()
    assert code == 0, err
    assert "stopping: 1 answers under way" in err
    assert err.endswith("stopped; every answer under way had ended\n")
    assert not Path(f"/proc/{engine}").exists()
