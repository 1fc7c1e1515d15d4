"""Time, tokens, disk and settings of a plan; and the command that shows it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from luthier.cli.plan_text import plan_text
from luthier.config.compose import load_overrides
from luthier.config.recipe import Recipe
from luthier.knowledge.training_memory import trained_numbers
from luthier.plan.compute import MeasuredSpeed, flops_per_token, time_of
from luthier.plan.device import planned_device
from luthier.plan.model import planned_model
from luthier.plan.settings import detectable_gain, judge_settings
from luthier.plan.stage import plan
from luthier.reports.plan import PlanReport, SettingFinding, Tokens
from tests.cli.workshop import Done, luthier, make_workshop
from tests.plan.test_memory import model_of

ROOT = Path(__file__).parents[2]
TOKENS = Tokens(source="a test", is_exact=True, rows=1000, epoch_tokens=150_000, step_tokens=1200, steps=375)


def recipe_of(*overrides: str) -> Recipe:
    return load_overrides(overrides, under={"model": {"name": "embedded"}}).recipe


def found_in(*overrides: str, gpu: str = "h100", tokens: Tokens = TOKENS) -> dict[str, SettingFinding]:
    recipe = recipe_of(*overrides)
    device = planned_device(recipe, gpu)
    found = judge_settings(planned_model(recipe), recipe, device, tokens, eval_rows=60)
    return {finding.setting: finding for finding in found}


def test_flops_are_those_that_the_bench_counts() -> None:
    """bench/results counted 2,187,001,856 a token of Qwen2.5-0.5B with adapters of rank 64, attention left out."""
    import torch

    from luthier.config.method import LoraMethod
    from luthier.knowledge.model_folder import find_model
    from luthier.modelling.adapters import add_adapter
    from luthier.modelling.flops import training_flops_per_token
    from luthier.modelling.load import load_base

    recipe = recipe_of("method.rank=8", "method.dropout=0")
    model = planned_model(recipe)
    base = load_base(
        find_model("embedded"), dtype=torch.float32, device=torch.device("cpu"), attention="sdpa"
    )
    assert isinstance(recipe.method, LoraMethod)
    adapted = add_adapter(base, recipe.method, seed=1)
    assert flops_per_token(model.shape, recipe, mean_row_tokens=0)[0] == training_flops_per_token(adapted)
    assert trained_numbers(model.shape, recipe) == sum(
        each.numel() for each in adapted.parameters() if each.requires_grad
    )


def test_time_is_tokens_over_the_rate_and_money_is_time() -> None:
    recipe = recipe_of()
    model, device = planned_model(recipe), planned_device(recipe, "h100")
    speed = MeasuredSpeed(1000.0, "a test")
    time = time_of(model, recipe, device, TOKENS, speed, price_per_hour=3.6)
    assert time.seconds == pytest.approx(375 * 1200 / 1000)
    assert time.cost == pytest.approx(3.6 * 450 / 3600)
    assert time.watt_hours == pytest.approx(700 * 450 / 3600)
    assert time.low_seconds is not None
    assert time.high_seconds is not None
    assert time.low_seconds < time.seconds < time.high_seconds


@pytest.mark.parametrize(
    ("shape", "words", "row_tokens", "step_tokens", "measured"),
    [
        # bench/results/train_speed.json, one H200.
        ("qwen2.5-0.5b", ("train.pack_tokens=32768", "data.max_length=1024"), 200, 32768, 148_276),
        ("qwen2.5-0.5b", ("train.batch_size=4", "data.max_length=427"), 190, 1700, 69_440),
        # assets/embedded-base/facts.json: 785,394,391 tokens of the base's own pretraining.
        ("embedded", ("model.name=null", "method.kind=scratch", "train.pack_tokens=65536", "data.max_length=2048"), 1500, 131_072, 1_517_927),
    ],
)  # fmt: skip
def test_measured_speeds_lie_between_the_bounds(
    shape: str, words: tuple[str, ...], row_tokens: int, step_tokens: int, measured: float
) -> None:
    recipe = recipe_of(*words, *(() if "model.name=null" in words else ("method.dropout=0",)))
    model = planned_model(recipe_of()) if shape == "embedded" else model_of(shape)
    tokens = TOKENS.model_copy(
        update={"rows": 1000, "epoch_tokens": 1000 * row_tokens, "step_tokens": step_tokens, "steps": 100}
    )
    time = time_of(model, recipe, planned_device(recipe, "h200"), tokens, None, price_per_hour=None)
    assert time.low_seconds is not None
    assert time.high_seconds is not None
    assert time.low_seconds < 100 * step_tokens / measured < time.high_seconds


@pytest.mark.parametrize(
    ("setting", "word", "severity"),
    [
        ("train.lr", "train.lr=0.5", "warning"),
        ("train.lr", "train.lr=1e-7", "warning"),
        ("train.batch_size", "train.gradient_accumulation_steps=1", "note"),
        ("train.schedule.warmup_fraction", "train.schedule.warmup_fraction=0.5", "warning"),
        ("train.optimizer.clip_norm", "train.optimizer.clip_norm=0", "note"),
        ("train.optimizer.beta2", "train.optimizer.beta2=0.5", "note"),
        ("train.optimizer.epsilon", "train.optimizer.epsilon=1e-3", "note"),
        ("train.optimizer.weight_decay", "method.kind=full", "note"),
        ("method.dropout", "method.dropout=0.5", "note"),
        ("method.rank", "method.rank=2", "note"),
        ("method.alpha", "method.alpha=4096", "note"),
        ("train.epochs", "train.epochs=50", "note"),
        ("data.max_length", "data.max_length=100000", "error"),
        ("train.precision", "train.precision=fp16", "note"),
    ],
)
def test_an_odd_setting_is_found_and_what_is_advised_mends_it(setting: str, word: str, severity: str) -> None:
    usual = ("train.lr=1e-3",)
    assert setting not in found_in(*usual)
    found = found_in(*usual, word)[setting]
    assert (found.severity, bool(found.consequence), bool(found.usual)) == (severity, True, True)
    if "=" in found.fix and found.fix.partition("=")[2].replace(".", "").replace("e-", "").isdigit():
        assert setting not in found_in(*usual, word, found.fix)


def test_few_rows_and_what_they_can_tell_are_said() -> None:
    few = TOKENS.model_copy(update={"rows": 40})
    assert found_in(tokens=few)["data.path"].severity == "warning"
    # "60 rows detect at best 9 points."
    assert round(100 * detectable_gain(60)) == 9
    assert "about 9 points" in found_in()["evaluate.path"].consequence
    fp16_only = found_in("train.precision=bf16", gpu="t4")["train.precision"]
    assert (fp16_only.severity, fp16_only.fix) == ("error", "train.precision=auto")


def test_a_plan_names_every_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    recipe = recipe_of("data.path=data/train.jsonl", "data.max_length=256")
    report = plan(recipe, name="mine", gpu="a100", price_per_hour=1.0, with_ladder=True)
    assert report.parameters.total == 7_348_480
    assert report.tokens.rows == pytest.approx(4794 * 0.95, abs=2)
    assert {item.name for item in report.disk.items} >= {"prepared tokens", "checkpoints", "adapter", "merged model"}  # fmt: skip
    assert PlanReport.model_validate_json(report.model_dump_json()) == report
    text = plan_text(report)
    for word in ("model ", "fits     yes", "tokens ", "time ", "disk ", "training", "merging", "activations"):
        assert word in text
    scratch = plan(recipe_of("method.kind=scratch", "model.name=null"), name="new", gpu="a100")
    assert scratch.parameters.trainable == scratch.parameters.total
    assert "merge" not in scratch.memory


def planned(folder: Path, *words: str) -> Done:
    return luthier(folder, "plan", *words)


def test_the_command_is_quick_loads_no_torch_and_writes_nothing(tiny_base: Path, tmp_path: Path) -> None:
    folder = make_workshop(tmp_path / "workshop", tiny_base)
    before = sorted(folder.rglob("*"))
    code = (
        "import sys\nfrom luthier.cli.app import run_command\n"
        "code = run_command(['plan', 'train', '--json', '--gpu', 'H100', '--price-per-hour', '2', '--fit'])\n"
        "heavy = {'torch', 'transformers', 'peft', 'datasets'} & set(sys.modules)\n"
        "sys.exit(f'{heavy}' if heavy else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert {"total", "trainable"} <= set(found["parameters"])
    assert set(found["memory"]) == {"train", "eval", "save", "merge"}
    assert all(phase["peak_bytes"] > 0 for phase in found["memory"].values())
    assert found["time"]["seconds"] > 0
    assert found["disk"]["bytes"] > 0
    assert found["fits"] is True
    assert sorted(folder.rglob("*")) == before


def test_tokens_of_a_run_are_counted_not_guessed(tiny_base: Path, tmp_path: Path) -> None:
    folder = make_workshop(tmp_path / "workshop", tiny_base)
    prepared = luthier(folder, "prepare", "train", "--json")
    assert prepared.code == 0, prepared.err
    found = planned(folder, "--run", "latest", "--json", "--gpu", "cpu").json
    assert found["tokens"]["is_exact"] is True
    assert found["tokens"]["epoch_tokens"] == prepared.json["train"]["tokens"]
    assert planned(folder, "train", "--run", "latest").code == 2


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("train", "--gpu", "H1000"), 2, "did you mean H100?"),
        (("train", "--price-per-hour", "-1"), 2, "-1 an hour is no price"),
        (("train", "model.name=nobody/nothing-7b"), 4, "mdl-missing"),
        (("train", "model.name=./nowhere"), 4, "mdl-missing"),
        (("train", "--bench", "none.json"), 2, "is no result of bench train"),
        (("train", "train.batch_size=0"), 2, "train.batch_size"),
        ((), 2, "luthier plan needs a recipe"),
        (("train", "--run", "nowhere"), 2, "nowhere"),
        (("train", "--gpu", "t4", "model.name=meta-llama/Llama-3.1-8B"), 1, "gate-fit"),
    ],
)
def test_what_cannot_be_planned_or_does_not_fit_is_said(
    tiny_base: Path, tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    done = planned(make_workshop(tmp_path / "workshop", tiny_base), *words)
    assert (done.code, said in done.err) == (code, True), done.err
