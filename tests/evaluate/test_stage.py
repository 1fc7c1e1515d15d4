"""The whole stage on tiny models: real adapters, real generation, real files."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from luthier.config.method import LoraMethod
from luthier.config.recipe import Recipe
from luthier.evaluate import stage
from luthier.evaluate.compare import compare
from luthier.evaluate.stage import evaluate, read_answer
from luthier.floor.errors import DataError, LuthierError, ModelError, SavedAndStopped, UsageError
from luthier.floor.log import Recorder
from luthier.floor.rundir import RunDir
from luthier.floor.stop import StopFlag
from luthier.modelling.adapters import add_adapter, save_trained
from luthier.modelling.load import load_base
from luthier.reports.evaluate import EvaluateReport
from luthier.text.tokenizer import load_tokenizer
from tests.evaluate.rows import PAIRS, make_recipe, pairs, write_rows
from tests.export.finished_run import write_train_report

LORA = LoraMethod(rank=4, alpha=8, dropout=0.0)


def make_run(tmp_path: Path, base: Path, *, spread: float = 0.05, method: str = "lora") -> RunDir:
    """A finished run whose adapter (or whole model) differs from its base by random weights."""
    run = RunDir(tmp_path / "2026-01-01_00-00-00")
    model = load_base(base, dtype=torch.float32, device=torch.device("cpu"), attention="sdpa")
    trained = add_adapter(model, LORA, seed=1) if method == "lora" else model
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in trained.parameters():
            if parameter.requires_grad:
                parameter += spread * torch.randn(parameter.shape, generator=generator)
    save_trained(trained, load_tokenizer(base), run.model)
    write_train_report(run, method, base)
    return run


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "test.jsonl", pairs())


def lines_of(run: RunDir, subject: str) -> list[dict]:
    path = run.stage("evaluate") / subject / "predictions.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_base_and_tuned_are_judged_and_compared(tiny_base: Path, tmp_path: Path, rows: Path) -> None:
    run, recipe = make_run(tmp_path, tiny_base, spread=0.3), make_recipe(tiny_base, rows)
    base = evaluate(recipe, run, subject="base")
    tuned = evaluate(recipe, run)
    assert (base.subject, tuned.subject, tuned.rows) == ("base", "tuned", len(PAIRS))
    assert base.metrics["loss"].value != tuned.metrics["loss"].value
    assert base.data_sha256 == tuned.data_sha256
    assert [row["prompt"] for row in lines_of(run, "base")] == [prompt for prompt, _ in PAIRS]
    for found in tuned.metrics.values():
        assert found.low <= found.value + 1e-9
        assert found.value <= found.high + 1e-9
    report = compare(run, run.stage("evaluate") / "base", run.stage("evaluate") / "tuned", recipe)
    assert report.metrics["loss"].base == pytest.approx(base.metrics["loss"].value)
    assert report.metrics["loss"].tuned == pytest.approx(tuned.metrics["loss"].value)


def test_answers_are_the_greedy_ones_of_transformers(tiny_base: Path, tmp_path: Path, rows: Path) -> None:
    run, recipe = make_run(tmp_path, tiny_base), make_recipe(tiny_base, rows)
    report = evaluate(recipe, run, subject="base")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_base), load_tokenizer(tiny_base)
    for (prompt, _), line in zip(PAIRS, lines_of(run, "base"), strict=True):
        ids = torch.tensor([tokenizer.encode(prompt + "\n")])
        answer = model.generate(ids, max_new_tokens=8, do_sample=False)[0, ids.shape[1] :]
        assert line["generated"] == tokenizer.decode(answer, skip_special_tokens=True)
        assert line["finished"] == (tokenizer.eos_token_id in answer.tolist())
    assert report.answers_unfinished == sum(not line["finished"] for line in lines_of(run, "base"))


def test_the_loss_is_that_of_the_expected_answers(tiny_base: Path, tmp_path: Path, rows: Path) -> None:
    run, recipe = make_run(tmp_path, tiny_base), make_recipe(tiny_base, rows)
    report = evaluate(recipe, run, subject="base")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_base), load_tokenizer(tiny_base)
    nll = tokens = utf8 = 0.0
    for prompt, completion in PAIRS:
        question = tokenizer.encode(prompt + "\n")
        answer = [*tokenizer.encode(completion), tokenizer.eos_token_id]
        ids = torch.tensor([question + answer])
        labels = torch.tensor([[-100] * len(question) + answer])
        with torch.no_grad():
            nll += float(model(input_ids=ids, labels=labels).loss) * len(answer)
        tokens += len(answer)
        utf8 += len(completion.encode())
    assert report.metrics["loss"].value == pytest.approx(nll / tokens, rel=1e-5)
    assert report.metrics["perplexity"].value == pytest.approx(2.718281828 ** (nll / tokens), rel=1e-4)
    assert report.metrics["bits_per_byte"].value == pytest.approx(nll / utf8 / 0.693147, rel=1e-5)


def test_the_same_evaluation_is_not_done_twice(
    tiny_base: Path, tmp_path: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, recipe = make_run(tmp_path, tiny_base), make_recipe(tiny_base, rows)
    first = evaluate(recipe, run)
    sittings = []
    sit = stage.sit
    monkeypatch.setattr(stage, "sit", lambda exam: sittings.append(exam) or sit(exam))
    assert evaluate(recipe, run) == first
    assert not sittings
    assert evaluate(recipe, run, again=True).metrics == first.metrics
    assert evaluate(make_recipe(tiny_base, rows, max_new_tokens=4), run).inputs_hash != first.inputs_hash
    write_rows(rows, pairs(PAIRS[:3]))
    assert evaluate(recipe, run).rows == 3
    assert len(sittings) == 3


def test_a_whole_trained_model_needs_no_base(tiny_base: Path, tmp_path: Path, rows: Path) -> None:
    run = make_run(tmp_path, tiny_base, method="full")
    recipe = Recipe.model_validate(
        make_recipe(tiny_base, rows).model_dump()
        | {"model": {"device": "cpu"}, "method": {"kind": "scratch"}}
    )
    assert evaluate(recipe, run).model == str(run.model)
    with pytest.raises(UsageError, match="no base"):
        evaluate(recipe, run, subject="base")


def test_any_model_folder_can_be_judged_in_a_run(tiny_base: Path, tmp_path: Path, rows: Path) -> None:
    run, recipe = make_run(tmp_path, tiny_base), make_recipe(tiny_base, rows)
    report = evaluate(recipe, run, model_folder=tiny_base, subject="merged")
    assert report.subject == "merged"
    assert (run.stage("evaluate") / "merged" / "report.json").is_file()
    assert report.metrics == evaluate(recipe, run, subject="base").metrics


def test_plain_texts_are_judged_by_loss_alone(tiny_base: Path, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "test.jsonl", [{"text": "The Mill is a pub."}, {"text": "Größe " * 200}])
    run = make_run(tmp_path, tiny_base)
    report = evaluate(make_recipe(tiny_base, rows), run, subject="base")
    assert report.metrics.keys() == {"loss", "perplexity", "bits_per_byte"}
    assert lines_of(run, "base")[0]["generated"] is None


def test_an_unfinished_run_has_no_tuned_model_but_a_base(tiny_base: Path, tmp_path: Path, rows: Path) -> None:
    run, recipe = RunDir(tmp_path / "run"), make_recipe(tiny_base, rows)
    with pytest.raises(UsageError) as caught:
        evaluate(recipe, run)
    assert caught.value.code == "run-unfinished"
    assert evaluate(recipe, run, subject="base").rows == len(PAIRS)


@pytest.mark.parametrize(
    ("break_it", "kind", "code"),
    [
        (lambda run, rows: rows.unlink(), DataError, "data-missing"),
        (lambda run, rows: rows.write_text("{broken\n"), DataError, "data-json"),
        (lambda run, rows: (run.model / "adapter_model.safetensors").unlink(), ModelError, "adp-weights"),
    ],
)
def test_what_is_broken_is_named_and_nothing_is_left(
    tiny_base: Path, tmp_path: Path, rows: Path, break_it, kind: type[LuthierError], code: str
) -> None:
    run, recipe = make_run(tmp_path, tiny_base), make_recipe(tiny_base, rows)
    break_it(run, rows)
    with pytest.raises(kind) as caught:
        evaluate(recipe, run)
    assert caught.value.code == code
    assert not run.stage("evaluate").exists()


def test_a_stop_leaves_nothing_behind(tiny_base: Path, tmp_path: Path, rows: Path) -> None:
    run, recipe = make_run(tmp_path, tiny_base), make_recipe(tiny_base, rows)
    stop = StopFlag()

    class StopWhileAnswering(Recorder):
        def progress(self, label: str, done: int, total: int, detail: str = "") -> None:
            stop.set(15)

    with pytest.raises(SavedAndStopped):
        evaluate(recipe, run, listener=StopWhileAnswering(), stop=stop)
    assert not run.stage("evaluate").exists()


def test_a_short_context_keeps_room_for_the_question(tiny_base: Path, tmp_path: Path) -> None:
    # The tiny model looks at 512 tokens.
    rows = write_rows(tmp_path / "test.jsonl", pairs([("word " * 1000, "yes"), ("short", "no")]))
    run, listener = make_run(tmp_path, tiny_base), Recorder()
    report = evaluate(
        make_recipe(tiny_base, rows, max_new_tokens=500, most_rows=2), run, subject="base", listener=listener
    )
    assert report.prompts_cut == 1
    assert "answers are cut at 256 tokens" in listener.warnings[0]


def test_a_stale_report_goes_before_its_predictions_change(
    tiny_base: Path, tmp_path: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, recipe = make_run(tmp_path, tiny_base), make_recipe(tiny_base, rows)
    evaluate(recipe, run, subject="base")
    report = run.stage("evaluate") / "base" / "report.json"
    seen = []
    write = stage.write_predictions
    monkeypatch.setattr(
        stage, "write_predictions", lambda *arguments: seen.append(report.exists()) or write(*arguments)
    )
    evaluate(recipe, run, subject="base", again=True)
    assert seen == [False]
    assert EvaluateReport.read(report).subject == "base"


def test_the_token_that_ends_an_answer_is_no_part_of_its_text(tiny_base: Path) -> None:
    tokenizer = load_tokenizer(tiny_base)
    end = tokenizer.eos_token_id
    said = tokenizer.encode("a , b")
    assert read_answer(tokenizer, [*said, end], [end]) == ("a , b", True)
    assert read_answer(tokenizer, said, [end]) == ("a , b", False)
    assert read_answer(tokenizer, [end], [end]) == ("", True)
    # An end that the tokenizer does not call special is left out all the same.
    comma, letter = tokenizer.encode("a ,"), tokenizer.encode("b")
    assert len(letter) == 1
    assert read_answer(tokenizer, [*comma, *letter], letter) == ("a ,", True)
