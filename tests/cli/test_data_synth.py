"""`luthier data synth` as a person types it."""

import json
from pathlib import Path

import pytest

from tests.cli.workshop import Done, listing, luthier
from tests.data.synth.asking_for import ANSWERS, topic_of
from tests.data.synth.endpoint_server import Reply, endpoint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "prompt.txt").write_text("Write one sentence about {{ seed }}.\n")
    (tmp_path / "topics.txt").write_text("rivers\nlenses\nbread\n")
    return tmp_path


def synth(folder: Path, address: str, *words: str) -> Done:
    usual = ("--seeds", "topics.txt", "--endpoint", address, "--model", "tiny", "--out", "data/rows.jsonl")
    return luthier(folder, "data", "synth", "prompt.txt", *usual, *words)


def test_a_dry_run_shows_prompts_and_costs(folder: Path) -> None:
    before = listing(folder)
    done = synth(folder, "http://127.0.0.1:9", "--dry-run", "--n", "5", "--answer-tokens", "100")
    assert done.code == 0, done.err
    assert "prompt 1\n  user: Write one sentence about rivers." in done.out
    assert "answers    5 wanted; 5 requests to http://127.0.0.1:9/v1" in done.out
    assert "at most 500 of answers" in done.out
    assert "Nothing was sent" in done.out
    assert listing(folder) == before


def test_the_books_are_shown_and_the_rows_can_be_trained_on(folder: Path) -> None:
    with endpoint(lambda asked, before: Reply(ANSWERS[topic_of(asked.prompt)])) as server:
        done = synth(folder, server.address, "--setting", "top_p=0.9", "--setting", "stop=END")
        again = synth(folder, server.address, "--setting", "top_p=0.9", "--setting", "stop=END", "--json")
    assert done.code == 0, done.err
    assert "answers    3 wanted = 3 rows + 0 left out" in done.out
    assert "asked      3 requests" in done.out
    assert "tokens     30 of prompts + 15 of answers" in done.out
    assert (
        "next       luthier train RECIPE data.path=data/rows.jsonl data.format=prompt_completion" in done.out
    )
    assert (again.json["requests"], again.json["rows"]) == (0, 3)
    assert again.json["settings"] == {"temperature": 0.7, "max_tokens": 1024, "top_p": 0.9, "stop": "END"}
    assert sorted(path.name for path in (folder / "data").iterdir()) == [
        "rows.dropped", "rows.journal", "rows.jsonl", "rows.report.json",
    ]  # fmt: skip
    assert json.loads((folder / "data" / "rows.report.json").read_text()) == again.json


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--setting", "top_p"), "no KEY=VALUE"),
        (("--setting", "model=x"), "model is set already"),
        (("--match", "("), "no regular expression"),
        (("--threshold", "0.1"), "a threshold of 0.1"),
        (("--seeds", "nothing.txt"), "there is no nothing.txt"),
        (("--seeds", "."), "is a folder"),
        (("--schema", "nothing.json"), "there is no nothing.json"),
        (("--against", "nothing.jsonl"), "there is no nothing.jsonl"),
        (("--endpoint", "here"), "no http or https address"),
        (("--out", "."), "is a folder"),
        (("--key-from", "NO_SUCH_KEY"), "NO_SUCH_KEY is not set"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_sent_or_written(
    folder: Path, words: tuple[str, ...], said: str
) -> None:
    before = listing(folder)
    done = synth(folder, "http://127.0.0.1:9/v1", *words)
    assert done.code in (2, 3)
    assert said in done.err
    assert listing(folder) == before


def test_an_endpoint_that_is_not_there_is_exit_code_5(folder: Path) -> None:
    done = synth(folder, "http://127.0.0.1:9/v1")
    assert (done.code, "error[env-endpoint]" in done.err) == (5, True)
    assert "type the same line again" in done.err
