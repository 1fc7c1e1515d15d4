"""The whole stage: what is kept, what is refused, and that nothing half-made ever has the final name."""

import json
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from luthier.config.method import LoraMethod
from luthier.export import stage
from luthier.export.stage import merge
from luthier.floor.errors import (
    DataError,
    EnvironmentFault,
    GateError,
    Interrupted,
    LuthierError,
    ModelError,
    UsageError,
)
from luthier.floor.rundir import RunDir, lock_run
from luthier.floor.stop import StopFlag
from luthier.reports.merge import MergeReport
from tests.export.finished_run import (
    make_finished_run,
    measure_in_this_process,
    write_data_report,
    write_questions,
    write_train_report,
)
from tests.tiny import make_tiny_model

# Whole trainings, evaluations or merges: out of the quick suite, which has a minute and a half.
pytestmark = pytest.mark.whole

METHOD = LoraMethod(rank=8, alpha=16)


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure without starting a Python, which takes seconds; one test below starts it."""
    monkeypatch.setattr(stage, "measure_in_fresh_process", measure_in_this_process)


def spoil_between(monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], None]) -> None:
    """Let `spoil` change the written folder before the merged model is loaded again."""

    def measure(folder: Path, task: object, **rest: object) -> object:
        spoil(folder)
        return measure_in_this_process(folder, task, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(stage, "measure_in_fresh_process", measure)


def assert_nothing_left(run: RunDir) -> None:
    left = [path.name for path in run.stage("merge").iterdir()] if run.stage("merge").exists() else []
    assert left == [], f"left behind: {left}"


def test_a_merged_folder_is_checked_by_a_fresh_process_and_answers_as_the_adapter(
    tiny_base: Path, tmp_path: Path
) -> None:
    recipe, run = make_finished_run(tmp_path / "run", tiny_base, METHOD)
    report = merge(recipe, run)
    assert report == MergeReport.read(run.report("merge"))
    assert report.max_logit_difference < 1e-4
    assert report.top1_agreement == 1.0
    assert report.rows_checked == 4
    assert report.tokens_checked > 40
    folder = Path(report.folder)
    assert folder == run.stage("merge") / "model"
    assert sorted(path.name for path in run.stage("merge").iterdir()) == ["model", "report.json"]
    names = {path.name for path in folder.iterdir()}
    assert {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "chat_template.jinja",
        "generation_config.json",
    } <= names
    config = json.loads((folder / "config.json").read_text())
    assert config["use_cache"] is True
    assert config["tie_word_embeddings"] is True
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("The Mill", return_tensors="pt").input_ids
    assert model.generate(ids, max_new_tokens=3, do_sample=False).shape[1] > ids.shape[1]


def test_the_same_merge_is_made_once_unless_asked_again(
    tiny_base: Path, tmp_path: Path, in_this_process: None
) -> None:
    recipe, run = make_finished_run(tmp_path / "run", tiny_base, METHOD)
    first = merge(recipe, run)
    written = (run.stage("merge") / "model" / "model.safetensors").stat().st_mtime_ns
    assert merge(recipe, run) == first
    assert (run.stage("merge") / "model" / "model.safetensors").stat().st_mtime_ns == written
    again = merge(recipe, run, again=True)
    assert (run.stage("merge") / "model" / "model.safetensors").stat().st_mtime_ns > written
    assert again.inputs_hash == first.inputs_hash
    assert again.max_logit_difference == first.max_logit_difference
    other = recipe.model_copy(update={"merge": recipe.merge.model_copy(update={"dtype": "bf16"})})
    assert merge(other, run).dtype == "bf16"


def test_rounded_weights_are_judged_by_divergence_and_report_the_difference_before(
    tmp_path: Path, in_this_process: None
) -> None:
    base = make_tiny_model(tmp_path / "base", dtype=torch.bfloat16)
    recipe, run = make_finished_run(tmp_path / "run", base, METHOD)
    report = merge(recipe, run)
    assert report.dtype == "bf16"
    assert report.max_logit_difference > 1e-4, "bf16 rounding should show"
    assert report.mean_kl < recipe.merge.most_kl
    assert report.difference_before_rounding is not None
    assert report.difference_before_rounding < 1e-4
    before = load_file(base / "model.safetensors")
    after = load_file(Path(report.folder) / "model.safetensors")
    assert before.keys() == after.keys()
    assert {tensor.dtype for tensor in after.values()} == {torch.bfloat16}
    assert torch.equal(before["model.embed_tokens.weight"], after["model.embed_tokens.weight"])
    assert not torch.equal(
        before["model.layers.0.mlp.up_proj.weight"], after["model.layers.0.mlp.up_proj.weight"]
    )
    assert json.loads((Path(report.folder) / "config.json").read_text())["dtype"] == "bfloat16"


def test_a_rounding_beyond_most_kl_is_refused_with_the_figure(
    tiny_base: Path, tmp_path: Path, in_this_process: None
) -> None:
    recipe, run = make_finished_run(
        tmp_path / "run", tiny_base, METHOD, merge={"dtype": "bf16", "most_kl": 1e-9}
    )
    with pytest.raises(GateError) as caught:
        merge(recipe, run)
    assert caught.value.exit_code == 1
    assert "merge.most_kl = 1e-09" in caught.value.render()
    assert_nothing_left(run)


def flip_a_weight(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    # The lowest bit of one number: no logit and no divergence would ever show it.
    tensors["model.layers.1.mlp.down_proj.weight"].view(torch.int32)[5, 5] ^= 1
    save_file(tensors, path, metadata={"format": "pt"})


def enlarge_a_weight(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["model.layers.0.mlp.down_proj.weight"] *= 1.5
    save_file(tensors, path, metadata={"format": "pt"})


def swap_the_tokenizer(folder: Path) -> None:
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    path.write_text(json.dumps(content), encoding="utf-8")


def change_the_template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }}", encoding="utf-8")


def drop_a_weight(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    del tensors["model.norm.weight"]
    save_file(tensors, path, metadata={"format": "pt"})


def cut_the_file(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def change_the_config(folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["rope_parameters"]["rope_theta"] = 500.0
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            flip_a_weight,
            "1 of 26 weights are not the ones that were merged: model.layers.1.mlp.down_proj.weight",
        ),
        (enlarge_a_weight, "the largest logit difference is"),
        (swap_the_tokenizer, "tokenizer or chat template is not the run's"),
        (change_the_template, "tokenizer or chat template is not the run's"),
        (drop_a_weight, "cannot be loaded again"),
        (cut_the_file, "cannot be loaded again"),
        (change_the_config, "the largest logit difference is"),
    ],
)
def test_a_spoilt_folder_is_deleted_and_the_message_says_why(
    spoil: Callable[[Path], None],
    words: str,
    tiny_base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe, run = make_finished_run(tmp_path / "run", tiny_base, METHOD)
    spoil_between(monkeypatch, spoil)
    with pytest.raises(GateError) as caught:
        merge(recipe, run)
    assert caught.value.code == "gate-parity"
    assert caught.value.exit_code == 1
    assert words in caught.value.render()
    assert_nothing_left(run)


def test_a_merge_with_the_wrong_scaling_is_refused(
    tiny_base: Path, tmp_path: Path, in_this_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, run = make_finished_run(tmp_path / "run", tiny_base, METHOD)
    right = stage.merge_adapter

    def wrong(model: object) -> object:
        for module in model.modules():  # type: ignore[attr-defined]
            if isinstance(getattr(module, "scaling", None), dict):
                module.scaling["default"] *= 1.1
        return right(model)  # type: ignore[arg-type]

    monkeypatch.setattr(stage, "merge_adapter", wrong)
    with pytest.raises(GateError) as caught:
        merge(recipe, run)
    assert "the largest logit difference is" in caught.value.render()
    assert_nothing_left(run)


def test_a_refused_merge_leaves_the_earlier_good_one(
    tiny_base: Path, tmp_path: Path, in_this_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, run = make_finished_run(tmp_path / "run", tiny_base, METHOD)
    report = merge(recipe, run)
    spoil_between(monkeypatch, enlarge_a_weight)
    with pytest.raises(GateError):
        merge(recipe, run, again=True)
    assert merge(recipe, run) == report


def test_a_full_disk_is_named_and_leaves_nothing(
    tiny_base: Path, tmp_path: Path, in_this_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, run = make_finished_run(tmp_path / "run", tiny_base, METHOD)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    write_model = stage.write_model

    def write_on_a_full_disk(*given: object, **named: object) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            write_model(*given, **named)  # type: ignore[arg-type]
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    monkeypatch.setattr(stage, "write_model", write_on_a_full_disk)
    with pytest.raises(EnvironmentFault) as caught:
        merge(recipe, run)
    assert caught.value.code == "env-disk"
    assert caught.value.exit_code == 5
    assert_nothing_left(run)


def test_too_little_disk_is_refused_before_a_model_is_loaded(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, run = make_finished_run(tmp_path / "run", tiny_base, METHOD)
    monkeypatch.setattr("luthier.export.save.free_bytes", lambda path: 1000)
    monkeypatch.setattr(stage, "load_seen", lambda bench: pytest.fail("a model was loaded"))
    with pytest.raises(EnvironmentFault, match="the merged model takes"):
        merge(recipe, run)
    assert_nothing_left(run)


@pytest.mark.parametrize(
    ("number", "kind", "code"), [(signal.SIGINT, Interrupted, 130), (signal.SIGTERM, LuthierError, 75)]
)
def test_a_stopped_merge_says_so_and_leaves_nothing(
    number: int, kind: type[LuthierError], code: int, tiny_base: Path, tmp_path: Path, in_this_process: None
) -> None:
    recipe, run = make_finished_run(tmp_path / "run", tiny_base, METHOD)
    stop = StopFlag()
    stop.set(number)
    with pytest.raises(kind) as caught:
        merge(recipe, run, stop=stop)
    assert caught.value.exit_code == code
    assert_nothing_left(run)


def test_what_a_killed_merge_left_is_swept_by_the_next(
    tiny_base: Path, tmp_path: Path, in_this_process: None
) -> None:
    recipe, run = make_finished_run(tmp_path / "run", tiny_base, METHOD)
    left = run.stage("merge") / ".tmp-work"
    (left / "model").mkdir(parents=True)
    (left / "model" / "model.safetensors").write_bytes(b"half")
    merge(recipe, run)
    assert not left.exists()


def test_a_run_that_is_not_finished_cannot_be_merged(tiny_base: Path, tmp_path: Path) -> None:
    recipe, run = make_finished_run(tmp_path / "run", tiny_base, METHOD)
    run.report("train").unlink()
    with pytest.raises(UsageError) as caught:
        merge(recipe, run)
    assert caught.value.code == "run-unfinished"
    assert "luthier train --resume" in caught.value.fix


def test_a_run_that_another_process_holds_is_left_alone(tiny_base: Path, tmp_path: Path) -> None:
    recipe, run = make_finished_run(tmp_path / "run", tiny_base, METHOD)
    with lock_run(run), pytest.raises(UsageError) as caught:
        merge(recipe, run)
    assert caught.value.code == "run-locked"
    assert_nothing_left(run)


@pytest.mark.parametrize("method", ["full", "scratch"])
def test_a_run_that_trained_every_weight_is_whole_already(
    method: str, tiny_base: Path, tmp_path: Path
) -> None:
    recipe, run = make_finished_run(tmp_path / "run", tiny_base, METHOD)
    write_train_report(run, method, tiny_base)
    with pytest.raises(UsageError) as caught:
        merge(recipe, run)
    assert caught.value.code == "merge-whole"
    assert str(run.model) in caught.value.render()


def test_an_adapter_of_another_base_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    recipe, run = make_finished_run(tmp_path / "run", tiny_base, METHOD)
    other = make_tiny_model(tmp_path / "other", seed=7)
    changed = recipe.model_copy(update={"model": recipe.model.model_copy(update={"name": str(other)})})
    with pytest.raises(ModelError) as caught:
        merge(changed, run)
    assert caught.value.code == "adp-base"
    assert str(tiny_base) in caught.value.fix


def test_a_run_without_its_adapter_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    recipe, run = make_finished_run(tmp_path / "run", tiny_base, METHOD)
    shutil.rmtree(run.model)
    with pytest.raises(ModelError) as caught:
        merge(recipe, run)
    assert caught.value.code == "adp-missing"


def test_embeddings_trained_as_one_matrix_stay_tied_in_the_merged_folder(
    tiny_base: Path, tmp_path: Path, in_this_process: None
) -> None:
    method = LoraMethod(rank=8, alpha=16, trained_modules=("embed_tokens",))
    recipe, run = make_finished_run(tmp_path / "run", tiny_base, method)
    report = merge(recipe, run)
    assert report.tied_embeddings is True
    assert report.max_logit_difference < 1e-4
    assert "lm_head.weight" not in load_file(Path(report.folder) / "model.safetensors")


def test_embeddings_that_the_adapter_parts_are_untied_in_the_merged_folder(
    tiny_base: Path, tmp_path: Path, in_this_process: None
) -> None:
    config = LoraConfig(
        task_type="CAUSAL_LM", r=4, target_modules=["q_proj"], modules_to_save=["embed_tokens"]
    )
    recipe, run = make_finished_run(
        tmp_path / "run", tiny_base, METHOD, adapt=lambda model: get_peft_model(model, config)
    )
    report = merge(recipe, run)
    assert report.tied_embeddings is False
    assert report.max_logit_difference < 1e-4
    assert json.loads((Path(report.folder) / "config.json").read_text())["tie_word_embeddings"] is False
    weights = load_file(Path(report.folder) / "model.safetensors")
    assert torch.equal(
        weights["lm_head.weight"], load_file(tiny_base / "model.safetensors")["model.embed_tokens.weight"]
    )
    assert not torch.equal(weights["lm_head.weight"], weights["model.embed_tokens.weight"])


def test_added_tokens_and_rows_of_padding_survive(tmp_path: Path, in_this_process: None) -> None:
    base = make_tiny_model(tmp_path / "base", vocabulary_size=300)
    model = AutoModelForCausalLM.from_pretrained(base)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens(["<record>", "<slot>"])
    model.resize_token_embeddings(320, mean_resizing=False)
    model.save_pretrained(base)
    tokenizer.save_pretrained(base)
    method = LoraMethod(rank=8, alpha=16, trained_modules=("embed_tokens", "lm_head"))
    recipe, run = make_finished_run(tmp_path / "run", base, method)
    write_questions(Path(recipe.evaluate.path), [("say <record>", "<slot> x <record>")])
    report = merge(recipe, run)
    assert report.max_logit_difference < 1e-4
    merged = AutoTokenizer.from_pretrained(report.folder)
    assert merged.encode("<slot>") == tokenizer.encode("<slot>")
    assert load_file(Path(report.folder) / "model.safetensors")["model.embed_tokens.weight"].shape[0] == 320


def test_without_an_evaluation_file_the_validation_rows_serve(
    tiny_base: Path, tmp_path: Path, in_this_process: None
) -> None:
    recipe, run = make_finished_run(tmp_path / "run", tiny_base, METHOD)
    Path(recipe.evaluate.path).unlink()
    with pytest.raises(DataError) as caught:
        merge(recipe, run)
    assert caught.value.code == "data-missing"
    write_data_report(run, tmp_path / "store", rows=[[5, 6, 7, 8, 9], [9, 8, 7]])
    report = merge(recipe, run)
    assert report.rows_checked == 2
    assert report.tokens_checked == 8
