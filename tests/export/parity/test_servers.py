"""Servers of other makes: each tells what it can, and the report says what that was; a stranger's answers crash nothing."""

import json
import shutil
from pathlib import Path

import pytest

from luthier.cli.verify import verified_text
from luthier.export.parity.client import LARGEST_PAGE, Client
from luthier.export.parity.stage import verify
from luthier.floor.errors import EnvironmentFault, UsageError
from luthier.floor.rundir import RunDir
from tests.export.finished_run import write_data_report
from tests.export.parity.conftest import WITH_TOOLS, Workshop
from tests.export.parity.other_servers import Json, Make, other_server, serving
from tests.tiny import make_tiny_model

# Every verification loads a model.
pytestmark = [pytest.mark.whole, pytest.mark.slow]

ROUTES = "the server's /apply-template and /tokenize"
USAGE = "the server's usage figures"


@pytest.mark.parametrize(
    ("make", "told", "by", "has_logprobs"),
    [
        ("llamacpp", "ids", ROUTES, True),
        ("vllm", "ids", "the server's /tokenize", True),
        ("ollama", "counts", USAGE, True),
        ("bare", "counts", USAGE, False),
    ],
)
def test_each_make_tells_what_it_can(
    make: Make, told: str, by: str, has_logprobs: bool, workshop: Workshop
) -> None:
    with other_server(make, workshop.merged) as url:
        report = verify(workshop.recipe, workshop.run, url)
    assert report.passed, report.problems
    assert (report.tokens.told, report.tokens.by, report.tokens.differ) == (told, by, 0)
    assert report.tokens.prompts == 8
    assert report.same_answer_share == 1.0
    assert (report.tokens_checked > 0) == has_logprobs
    if has_logprobs:
        assert report.candidates is not None
        assert 8 < report.candidates <= 20, "those that are spelt alike are left out"
        assert report.mean_kl < 1e-5
        assert report.top1_agreement == 1.0
        assert report.perplexity_after == pytest.approx(report.perplexity_before, rel=1e-3)
    assert any("own answers" in note for note in report.notes) == (make == "ollama")


def test_a_bare_server_with_another_template_or_model_is_found_all_the_same(
    workshop: Workshop, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(workshop.merged, tmp_path / "template"))
    (folder / "chat_template.jinja").write_text("Be kind.\n" + WITH_TOOLS, encoding="utf-8")
    with other_server("bare", folder) as url:
        report = verify(workshop.asked(answers=0), workshop.run, url)
    assert report.tokens.differ == 7, "of the row that may be read in two ways nothing is judged"
    assert "tokens there and" in report.problems[0]
    other = make_tiny_model(tmp_path / "model", seed=7, chat_template=WITH_TOOLS)
    with other_server("bare", other) as url:
        report = verify(workshop.recipe, workshop.run, url)
    assert report.tokens.differ == 0
    assert ["at least 50.0% is asked" in problem for problem in report.problems] == [True]


def test_rows_that_are_kept_as_tokens_are_asked_by_ids_where_a_server_takes_them(
    workshop: Workshop, tmp_path: Path
) -> None:
    run = RunDir(Path(shutil.copytree(workshop.run.path, tmp_path / "run")))
    write_data_report(run, tmp_path / "store", rows=[[9, 8, 7, 6, 5], [4, 5, 6, 7, 8, 9]])
    evaluate = workshop.recipe.evaluate.model_copy(update={"path": str(tmp_path / "none.jsonl")})
    recipe = workshop.recipe.model_copy(update={"evaluate": evaluate})
    with other_server("vllm", workshop.merged) as url:
        report = verify(recipe, run, url)
    assert report.passed, report.problems
    assert (report.tokens.told, report.tokens.prompts, report.tokens.shapes) == ("nothing", 0, {})
    assert report.tokens_checked > 0
    assert "not compared: the held-out rows are kept as tokens" in verified_text(run, report)
    with other_server("bare", workshop.merged) as url:
        report = verify(recipe, run, url)
    assert ["nothing could be compared" in problem for problem in report.problems] == [True]


LISTED = json.dumps({"data": [{"id": "m"}]}).encode()
CHOICE = {"text": "a", "logprobs": {"tokens": ["a"], "top_logprobs": [{"a": float("nan")}]}}


@pytest.mark.parametrize(
    ("models", "rest"),
    [
        (b"<html>", b""),
        (b"{" * 100_000, b""),
        (b'{"data": [{"id": 7}]}', b""),
        (b'{"data": []}', b""),
        (b" " * (LARGEST_PAGE + 1), b""),
        (LISTED, b'{"choices": []}'),
        (LISTED, json.dumps({"choices": [CHOICE]}).encode()),
    ],
)
def test_a_server_that_answers_otherwise_is_no_api_and_no_crash(
    models: bytes, rest: bytes, workshop: Workshop
) -> None:
    def answer(path: str, body: Json | None) -> tuple[int, bytes]:
        return 200, models if body is None else rest

    with serving(answer) as url, pytest.raises(EnvironmentFault) as caught:
        verify(workshop.asked(rows=1, answers=1, positions=1), workshop.run, url)
    assert (caught.value.code, caught.value.exit_code) == ("env-endpoint", 5)
    assert url in caught.value.what


def test_a_busy_server_is_waited_for_as_it_asks() -> None:
    statuses = iter([429, 503, 200])

    def answer(path: str, body: Json | None) -> tuple[int, bytes]:
        return next(statuses), LISTED

    with serving(answer, retry_after="0") as url, Client(url, None) as client:
        assert [each["id"] for each in client.models()] == ["m"]
    with (
        serving(lambda path, body: (429, b""), retry_after="999") as url,
        Client(url, None) as client,
        pytest.raises(EnvironmentFault, match="status 429"),
    ):
        client.models()


@pytest.mark.parametrize(
    "address",
    [
        "http://me:secret@127.0.0.1:9",
        "http://127.0.0.1:9/v1?key=secret",
        "http://",
        "http://h:port",
        "http://[::1",
    ],
)
def test_an_address_with_more_than_a_place_is_refused_unseen(address: str, workshop: Workshop) -> None:
    with pytest.raises(UsageError) as caught:
        verify(workshop.recipe, workshop.run, address)
    assert "secret" not in caught.value.render()


def test_a_server_that_fails_in_the_middle_leaves_no_report(workshop: Workshop) -> None:
    asked = iter(range(100))

    def answer(path: str, body: Json | None) -> tuple[int, bytes]:
        if body is None:
            return 200, LISTED
        if path == "/tokenize":
            return 403, b"gateways say in many ways that there is no such route"
        return (404, b"{}") if next(asked) < 1 else (503, b'{"error": {"message": "too many"}}')

    before = sorted(workshop.run.stage("verify").glob("*"))
    with (
        serving(answer, retry_after="999") as url,
        pytest.raises(EnvironmentFault, match="status 503: too many"),
    ):
        verify(workshop.asked(rows=1), workshop.run, url)
    assert sorted(workshop.run.stage("verify").glob("*")) == before
