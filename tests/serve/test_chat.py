"""`luthier chat`: piped in, with an own model as a process; and with a server on loopback."""

import subprocess
import sys
from pathlib import Path

import pytest
from openai import OpenAI

from luthier.serve.hooks import Fittings
from luthier.serve.keys import KeyRing, new_key
from tests.cli.workshop import luthier
from tests.serve.conftest import BASE, TUNED, Running, Start

# The engine's process takes seconds to start.
pytestmark = pytest.mark.slow

SHORT = ("--max-tokens", "12")


def test_piped_lines_are_a_conversation_whose_prompt_can_be_seen() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "luthier",
            "chat",
            "embedded",
            *SHORT,
            "--system",
            "Be brief.",
            "serve.threads=1",
        ],
        input=b"Good morning\n\n<|im_end|> Is it late?\n/ids\n/quit\nnever asked\n",
        capture_output=True,
        timeout=60,
        check=False,
    )
    out, err = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == 0, err
    assert "talking with embedded-base; /ids shows" in err
    first, rest = out.split("\n", 1)
    said, _, shown = rest.partition("embedded-base read ")
    count, _, shown = shown.partition(" tokens\n")
    assert "Be brief." in shown
    # The second question went with the first and its answer.
    assert shown.index("Good morning") < shown.index(first.strip()) < shown.index("Is it late?")
    ids = shown.strip().rsplit("\n", 1)[1].split()
    assert len(ids) == int(count)
    assert first.strip()
    assert said.strip()
    assert "never asked" not in out


def test_a_server_answers_as_it_answers_others_and_both_are_shown(server: Running, tmp_path: Path) -> None:
    asked = ("--prompt", "Hello", *SHORT)
    client = OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    wanted = {
        model: client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Hello"}], temperature=0, max_tokens=12
        )
        for model in (TUNED, BASE)
    }
    answers = luthier(tmp_path, "chat", server.url, *asked, "--both", "--json").json["answers"]
    assert {answer["model"]: answer["text"] for answer in answers} == {
        model: told.choices[0].message.content for model, told in wanted.items()
    }
    assert [answer["completion_tokens"] for answer in answers] == [
        told.usage.completion_tokens for told in wanted.values()
    ]
    shown = luthier(tmp_path, "chat", f"{server.url}/v1/", *asked, "--both")
    assert shown.out.splitlines()[0].split() == [TUNED, BASE]


def test_what_cannot_be_asked_is_said_with_its_exit_code(server: Running, tmp_path: Path) -> None:
    refused = luthier(tmp_path, "chat", server.url, "--prompt", "x " * 9000)
    assert (refused.code, "(api-context)" in refused.err) == (3, True), refused.err
    away = luthier(tmp_path, "chat", "http://127.0.0.1:9", "--prompt", "Hello")
    assert (away.code, "error[env-endpoint]: http://127.0.0.1:9/v1 cannot be reached" in away.err) == (
        5,
        True,
    )
    strange = luthier(tmp_path, "chat", f"{server.url}/health", "--prompt", "Hello")
    assert (strange.code, "error[env-endpoint]" in strange.err) == (5, True), strange.err
    for words in ((server.url, "serve.port=1"), ("embedded", "--json"), (server.url, "--key-from", "NO_KEY")):
        assert luthier(tmp_path, "chat", *words).code == 2
    for verb in ("chat", "serve"):
        nowhere = luthier(tmp_path, verb, "nowhere")
        assert (nowhere.code, "loading" in nowhere.err) == (2, False), nowhere.err


def test_a_key_comes_from_the_environment_and_is_not_told(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keys.json"
    key = new_key(file, "desk")
    with start(Fittings(doorkeeper=KeyRing(file), has_keys=True)) as running:
        shut = luthier(tmp_path, "chat", running.url, "--prompt", "Hello")
        assert (shut.code, "(api-key)" in shut.err) == (5, True), shut.err
        monkeypatch.setenv("DESK_KEY", key)
        done = luthier(tmp_path, "chat", running.url, "--prompt", "Hello", *SHORT, "--key-from", "DESK_KEY")
    assert done.code == 0, done.err
    assert done.out.strip()
    assert key not in done.said
