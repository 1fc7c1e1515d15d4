"""The guide's flat keys mean the settings that they name, in a file and on the line."""

from pathlib import Path

import pytest

from luthier.config.compose import load_recipe
from luthier.config.dialects import GUIDE, Entry, translate
from luthier.config.fields import settings
from tests.config.recipes import BASE, fault_of, write_recipe

GUIDE_KEYS = [
    "model_name",
    "dataset_path",
    "dataset_pattern",
    "data_format",
    "epochs",
    "batch_size",
    "lr",
    "gradient_accumulation_steps",
    "max_length",
    "warmup_ratio",
    "weight_decay",
    "lr_scheduler_type",
    "bf16",
    "fp16",
    "lora_r",
    "lora_alpha",
    "lora_dropout",
    "lora_target_modules",
    "gradient_checkpointing",
    "logging_steps",
    "save_steps",
]


def precision(*flags: tuple[str, bool], below: str | None = None) -> str | None:
    entries = [Entry((name,), value, name, "x") for name, value in flags]
    entry = translate(entries, precision_below=below).entries.get(("train", "precision"))
    return None if entry is None else entry.value


def test_every_flat_key_of_the_guide_is_known_and_leads_to_a_setting() -> None:
    assert list(GUIDE) == [key for key in list(GUIDE) if key in GUIDE_KEYS]
    assert set(GUIDE) == set(GUIDE_KEYS)
    assert [flat.place for flat in GUIDE.values() if flat.place not in settings()] == []


@pytest.mark.parametrize(
    ("word", "place", "value"),
    [
        ("model_name=a/b", "model.name", "a/b"), ("dataset_path=rows", "data.path", "rows"), ("dataset_pattern='*.x'", "data.pattern", "*.x"),
        ("data_format=messages", "data.format", "messages"), ("epochs=7", "train.epochs", 7.0), ("batch_size=3", "train.batch_size", 3),
        ("lr=1e-5", "train.lr", 1e-5), ("gradient_accumulation_steps=9", "train.gradient_accumulation_steps", 9),
        ("max_length=77", "data.max_length", 77), ("warmup_ratio=0.5", "train.schedule.warmup_fraction", 0.5),
        ("weight_decay=0.1", "train.optimizer.weight_decay", 0.1), ("lr_scheduler_type=linear", "train.schedule.kind", "linear"),
        ("lr_scheduler_type=constant_with_warmup", "train.schedule.kind", "constant"),
        ("lr_scheduler_type=warmup_stable_decay", "train.schedule.kind", "wsd"), ("bf16=true", "train.precision", "bf16"),
        ("fp16=true", "train.precision", "fp16"), ("bf16=false", "train.precision", "fp32"), ("lora_r=8", "method.rank", 8),
        ("lora_alpha=16", "method.alpha", 16.0), ("lora_dropout=0.1", "method.dropout", 0.1),
        ("lora_target_modules=[q_proj,v_proj]", "method.targets", ["q_proj", "v_proj"]),
        ("lora_target_modules=all-linear", "method.targets", ["all-linear"]),
        ("gradient_checkpointing=true", "train.gradient_checkpointing", True), ("logging_steps=3", "train.log.logging_steps", 3),
        ("save_steps=5", "train.checkpoint.save_steps", 5),
    ],
)  # fmt: skip
def test_a_flat_key_sets_its_place(word: str, place: str, value: object) -> None:
    entries = load_line(word)
    assert entries == {place: value}


def load_line(word: str) -> dict[str, object]:
    from luthier.config.overrides import parse_overrides

    (override,), problems = parse_overrides([word])
    assert problems == []
    layer = translate([Entry((override.key,), override.value, override.key, "line")])
    assert layer.problems == []
    return {".".join(path): entry.value for path, entry in layer.entries.items()}


def test_precision_flags_are_read_together() -> None:
    assert precision(("bf16", False), ("fp16", True)) == "fp16"
    assert precision(("bf16", True), ("fp16", False)) == "bf16"
    assert precision(("bf16", False), ("fp16", False)) == "fp32"
    assert precision(("fp16", False)) == "fp32"


def test_switching_one_format_off_leaves_the_other_as_the_file_says() -> None:
    assert precision(("bf16", False), below="fp16") is None
    assert precision(("fp16", False), below="fp16") == "fp32"
    assert precision(("bf16", True), below="fp16") == "bf16"


def test_two_formats_at_once_are_a_conflict(tmp_path: Path) -> None:
    fault = fault_of(write_recipe(tmp_path, BASE + "bf16: true\nfp16: true\n"))
    assert fault.code == "cfg-conflict"
    assert "bf16 and fp16" in fault.what


def test_one_setting_in_two_spellings_with_two_values_is_a_conflict(tmp_path: Path) -> None:
    fault = fault_of(write_recipe(tmp_path, BASE + "lr: 1e-4\ntrain:\n  lr: 2e-4\n"))
    assert fault.code == "cfg-conflict"
    assert "train.lr and lr" in fault.what
    assert fault_of(write_recipe(tmp_path, BASE), ["epochs=1", "train.epochs=2"]).code == "cfg-conflict"


def test_one_setting_in_two_spellings_with_one_value_is_none(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, BASE + "epochs: 2\ntrain:\n  epochs: 2.0\n")
    assert load_recipe(path).recipe.train.epochs == 2.0


@pytest.mark.parametrize(("line", "file"), [("lr=3e-4", "train: {lr: 1e-4}"), ("train.lr=3e-4", "lr: 1e-4")])
def test_the_command_line_beats_the_file_in_either_spelling(tmp_path: Path, line: str, file: str) -> None:
    resolved = load_recipe(write_recipe(tmp_path, f"{BASE}{file}\n"), [line])
    assert resolved.recipe.train.lr == 3e-4
    assert resolved.origins["train.lr"] == "command line"


def test_an_unknown_schedule_lists_the_known_ones(tmp_path: Path) -> None:
    fault = fault_of(write_recipe(tmp_path, BASE + "lr_scheduler_type: polynomial\n"))
    assert fault.code == "cfg-range"
    for name in ("cosine", "linear", "constant_with_warmup", "warmup_stable_decay"):
        assert name in fault.what


LORA = "lora_r: 8\nlora_alpha: 16\nlora_dropout: 0\n"


def test_lora_keys_are_refused_together_by_a_method_without_adapters(tmp_path: Path) -> None:
    fault = fault_of(write_recipe(tmp_path, BASE + LORA), ["method.kind=full"])
    assert fault.code == "recipe"
    assert [problem.split()[0] for problem in fault.problems] == ["lora_r", "lora_alpha", "lora_dropout"]
    assert "~lora_r ~lora_alpha ~lora_dropout" in fault.fix


def test_the_hint_works(tmp_path: Path) -> None:
    words = ["method.kind=full", "~lora_r", "~lora_alpha", "~lora_dropout"]
    assert load_recipe(write_recipe(tmp_path, BASE + LORA), words).recipe.method.kind == "full"


def test_lora_keys_are_taken_by_qlora(tmp_path: Path) -> None:
    method = load_recipe(write_recipe(tmp_path, BASE + LORA), ["method.kind=qlora"]).recipe.method
    assert (method.kind, method.rank, method.bits) == ("qlora", 8, 4)  # type: ignore[union-attr]


def test_a_setting_may_be_repeated_even_where_it_has_its_default(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, BASE + "evaluate: {max_prompt_tokens: '${data.max_length}'}\n")
    resolved = load_recipe(path)
    assert resolved.recipe.evaluate.max_prompt_tokens == 512
    assert resolved.origins["data.max_length"] == "default"


def test_a_flat_name_may_be_repeated_elsewhere(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, BASE + "max_length: 96\nevaluate: {max_prompt_tokens: '${max_length}'}\n")
    assert load_recipe(path).recipe.evaluate.max_prompt_tokens == 96
