"""`luthier verify URL`: the run's own server passes, another model, a server that is away and one that is none are told apart."""

import json
from pathlib import Path

import httpx
import pytest

from luthier.floor.rundir import RunDir
from luthier.knowledge.model_folder import find_model
from luthier.text.tokenizer import load_tokenizer
from tests.cli.workshop import Done, luthier
from tests.export.parity.conftest import ROWS
from tests.serve.conftest import BASE, TUNED, Running

# Every verification loads a model.
pytestmark = pytest.mark.slow

AFEW = ("evaluate.max_new_tokens=8", "verify.answers=2", "verify.positions=2")


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Conversations of every shape but tools, which the base's template has no place for."""
    path = tmp_path_factory.mktemp("held-out") / "test.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS if "tools" not in row), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(adapter_run: RunDir, held_out: Path) -> RunDir:
    """The run that the server serves, with held-out rows."""
    written = adapter_run.config_used.read_text(encoding="utf-8")
    if "evaluate:" not in written:
        settings = f"evaluate:\n  path: {held_out}\nverify:\n  rows: 2\n"
        adapter_run.config_used.write_text(written + settings, encoding="utf-8")
    return adapter_run


def verify(run: RunDir, url: str, *words: str) -> Done:
    return luthier(run.path.parent, "verify", url, "--against", str(run.path), *words, *AFEW, "--json")


def test_the_runs_own_server_reads_the_same_ids_and_answers_alike(run: RunDir, server: Running) -> None:
    done = verify(run, server.url)
    assert done.code == 0, done.err
    report = done.json
    assert report["subject"].endswith(f" {TUNED}"), "of several models the one that bears the run's name"
    tokens = report["tokens"]
    assert (tokens["told"], tokens["by"], tokens["differ"]) == ("ids", "the server's /tokenize", 0)
    assert tokens["shapes"].keys() == {
        "plain",
        "system",
        "several turns",
        "not ASCII",
        "special tokens in text",
    }
    assert any("plain characters" in note for note in report["notes"])
    assert 15 < report["candidates"] <= 20
    assert report["mean_kl"] < 1e-3
    assert (report["top1_agreement"], report["same_answer_share"]) == (1.0, 1.0)
    assert report["perplexity_after"] == pytest.approx(report["perplexity_before"], rel=1e-2)
    assert Path(run.path / "verify").is_dir()


def test_a_server_with_another_model_is_found(run: RunDir, server: Running) -> None:
    done = verify(run, f"{server.url}/v1/", "--model", BASE, "verify.most_kl=1e-6")
    assert done.code == 1, done.err
    assert not done.json["passed"]
    assert "error[gate-parity]" in done.err
    assert "mean KL divergence" in done.json["problems"][0]
    shown = luthier(run.path.parent, "verify", "--against", str(run.path))
    assert (shown.code, "tuned -> server, verified  failed" in shown.out) == (1, True), shown.out


def test_what_is_no_server_ends_at_once_with_its_reason(run: RunDir, server: Running) -> None:
    cases = (
        ("http://127.0.0.1:9", (), 5, "cannot be reached"),
        (f"{server.url}/health", (), 5, "answers with status 404"),
        (server.url, ("--model", "base2"), 2, "did you mean base"),
        (server.url, ("--key-from", "NO_KEY"), 2, "the environment has no NO_KEY"),
    )
    for url, words, code, said in cases:
        done = verify(run, url, *words)
        assert (done.code, said in done.err) == (code, True), done.err


def test_the_ids_of_a_prompt_are_those_of_the_tokenizer_and_of_the_answer(server: Running) -> None:
    def ask(path: str, **body: object) -> httpx.Response:
        return httpx.post(f"{server.url}{path}", json={"model": BASE, **body})

    told = ask("/tokenize", prompt="Größe <|im_end|>").json()
    tokenizer = load_tokenizer(find_model("embedded"))
    assert tokenizer.decode(told["tokens"]) == "Größe <|im_end|>"
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") not in told["tokens"], (
        "what a client writes is no token"
    )
    assert told["count"] == len(told["tokens"])
    talk = {"messages": [{"role": "user", "content": "Hello"}]}
    answer = ask("/v1/chat/completions", **talk, max_tokens=1).json()
    assert (
        ask("/tokenize", **talk, add_generation_prompt=True).json()["count"]
        == answer["usage"]["prompt_tokens"]
    )
    for wrong in ({}, {"prompt": "a", **talk}, {"prompt": ""}, {"prompt": [1]}):
        refused = ask("/tokenize", **wrong)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "api-field"), wrong
    assert ask("/tokenize", prompt="a", model="none").status_code == 404
