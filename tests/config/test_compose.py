"""Layers become one recipe: what wins, where each value came from, and what survives being written down."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from luthier.config.compose import (
    leaf_names,
    load_recipe,
    read_config_used,
    resolved_tree,
    write_config_used,
)
from luthier.config.fields import settings as known_settings
from luthier.config.recipe import Recipe
from luthier.floor.errors import LuthierError
from tests.config.recipes import BASE, fault_of, write_recipe

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).parents[2] / "configs"


def test_the_line_beats_the_file_beats_the_run_beats_the_default(tmp_path: Path) -> None:
    run = resolved_tree(
        Recipe.model_validate({"model": {"name": "m"}, "train": {"lr": 1e-3, "epochs": 9, "seed": 7}})
    )
    path = write_recipe(tmp_path, "train:\n  lr: 2e-3\n  epochs: 8\n")
    resolved = load_recipe(path, ["train.lr=3e-3"], under=run)
    train = resolved.recipe.train
    assert (train.lr, train.epochs, train.seed, train.batch_size) == (3e-3, 8.0, 7, 4)
    assert resolved.origins["train.lr"] == "command line"
    assert resolved.origins["train.epochs"] == f"{path}:3"
    assert resolved.origins["train.seed"] == "run config"


def test_every_leaf_has_an_origin(tmp_path: Path) -> None:
    resolved = load_recipe(write_recipe(tmp_path, BASE), ["lr=1"])
    assert list(resolved.origins) == leaf_names(resolved.recipe.model_dump())
    assert len(resolved.origins) > 60
    assert resolved.origins["train.schedule.kind"] == "default"


def test_a_list_is_replaced_whole(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, BASE + "lora_target_modules: [a, b, c]\n")
    assert load_recipe(path, ["method.targets=[d]"]).recipe.method.targets == ("d",)  # type: ignore[union-attr]


def test_a_section_on_the_line_leaves_its_other_settings(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, BASE + "train:\n  lr: 1e-3\n")
    train = load_recipe(path, ["train={epochs: 2, schedule: {kind: linear}}"]).recipe.train
    assert (train.lr, train.epochs, train.schedule.kind) == (1e-3, 2.0, "linear")


def test_removing_a_value_brings_the_default_back(tmp_path: Path) -> None:
    path = write_recipe(
        tmp_path, BASE + "train:\n  lr: 1e-3\n  schedule:\n    kind: linear\n    warmup_fraction: 0.5\n"
    )
    train = load_recipe(path, ["~lr", "~train.schedule"]).recipe.train
    assert (train.lr, train.schedule.kind, train.schedule.warmup_fraction) == (2e-4, "cosine", 0.03)
    assert fault_of(path, ["~train.seed"]).code == "cfg-unknown"


def test_faults_of_every_kind_are_reported_in_one_pass(tmp_path: Path) -> None:
    text = (
        BASE
        + "lr: abc\ntrain:\n  sede: 1\n  epochs: ???\n  threads: ${nowhere}\nlora_r: 8\nlr_scheduler_type: cos\n"
    )
    words = ["method.kind=full", "epoch=1", "broken", "~nothing", "save_steps=-1"]
    fault = fault_of(write_recipe(tmp_path, text), words)
    message = fault.render()
    assert fault.code == "recipe"
    assert len(fault.problems) == 10
    for part in (
        "lr = 'abc'", "train.sede", "did you mean train.seed?", "train.epochs", "left open", "train.threads", "nowhere", "lora_r", "belongs to",
        "lr_scheduler_type = 'cos'", "epoch (command line) is not a setting; did you mean epochs?", "broken (command line)", "~nothing",
        "save_steps = -1 (command line): must be at least 0", "mine.yaml:4",
    ):  # fmt: skip
        assert part in message
    assert "pydantic" not in message
    assert "http" not in message


def test_a_long_list_of_faults_is_cut(tmp_path: Path) -> None:
    text = BASE + "".join(f"unknown_{number}: 1\n" for number in range(50))
    fault = fault_of(write_recipe(tmp_path, text))
    assert "has 50 problems" in fault.what
    assert fault.problems[-1] == "... and 30 more"


MEANT = {
    "train.lrr": "train.lr", "trian.lr": "train.lr", "lrr": "lr", "warmup": "warmup_ratio", "lora_rank": "lora_r", "seed": "train.seed",
    "train.weight_decay": "train.optimizer.weight_decay", "train.warmup_ratio": "train.schedule.warmup_fraction",
    "data.max_len": "data.max_length", "evalute.path": "evaluate.path", "model.nam": "model.name", "optimizer.beta1": "train.optimizer.beta1",
    "gradient_accumulation": "gradient_accumulation_steps", "num_epochs": "epochs", "precision": "train.precision",
}  # fmt: skip


def test_a_misspelt_setting_names_the_one_that_was_meant(tmp_path: Path) -> None:
    fault = fault_of(write_recipe(tmp_path, BASE), [f"{word}=1" for word in MEANT])
    expected = [
        f"{word} (command line) is not a setting; did you mean {meant}?  [cfg-unknown]"
        for word, meant in MEANT.items()
    ]
    assert list(fault.problems) == expected


def test_a_word_like_no_setting_gets_no_wild_guess(tmp_path: Path) -> None:
    assert fault_of(write_recipe(tmp_path, BASE), ["zzzzz=1"]).what == "zzzzz is not a setting"


def test_wrong_method_kinds_and_settings_of_other_kinds_are_told_apart(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, BASE)
    assert (
        "must be one of: lora, qlora, full, scratch; did you mean lora?"
        in fault_of(path, ["method.kind=lra"]).what
    )
    assert (
        "method.rank belongs to method.kind lora or qlora"
        in fault_of(path, ["method={kind: full, rank: 8}"]).what
    )
    assert "did you mean method.kind=full?" in fault_of(path, ["method=full"]).what
    assert "method.rank = 0" in fault_of(path, ["method.rank=0"]).what


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS.glob("*.yaml")))
def test_a_recipe_written_down_is_read_back_equal(name: str, tmp_path: Path) -> None:
    run = {"model": {"name": "embedded"}} if name.startswith("eval") else None
    resolved = load_recipe(CONFIGS / f"{name}.yaml", ["train.compile=off"], under=run)
    path = tmp_path / "config_used.yaml"
    write_config_used(resolved, path)
    assert load_recipe(path).recipe == resolved.recipe
    assert (
        load_recipe(CONFIGS / "eval.yaml", under=read_config_used(path)).recipe.train == resolved.recipe.train
    )


def test_every_setting_survives_being_written_down(tmp_path: Path) -> None:
    words = ["model.revision='0123'", "data.path=no", "data.pattern='1e-4'", "data.validation_path='null'", "train.log.project='true'",
             "train.optimizer.epsilon=1e-12", "train.lr=1.7e-5", "method.trained_modules=['1', 'on']", "train.log.trackers=[]"]  # fmt: skip
    resolved = load_recipe(write_recipe(tmp_path, BASE), words)
    write_config_used(resolved, tmp_path / "used.yaml")
    again = load_recipe(tmp_path / "used.yaml").recipe
    assert again == resolved.recipe
    assert again.data.path == "no"
    assert again.train.lr == 1.7e-5


def test_a_run_config_does_not_bind_a_recipe_with_another_method(tmp_path: Path) -> None:
    run = resolved_tree(
        Recipe.model_validate({"model": {"name": "m"}, "method": {"kind": "qlora", "rank": 4}})
    )
    recipe = load_recipe(write_recipe(tmp_path, "method: {kind: full}\n"), under=run).recipe
    assert recipe.method.kind == "full"
    kept = load_recipe(write_recipe(tmp_path, "method: {alpha: 2}\n"), under=run).recipe.method
    assert (kept.kind, kept.rank, kept.alpha) == ("qlora", 4, 2.0)  # type: ignore[union-attr]


def test_loading_leaves_nothing_behind_for_the_next_recipe(tmp_path: Path) -> None:
    many = write_recipe(tmp_path, "defaults: [other]\n" + BASE)
    write_recipe(tmp_path, "train: {lr: 1}\n", "other.yaml")
    assert load_recipe(many).recipe.train.lr == 1.0
    assert load_recipe(write_recipe(tmp_path, BASE, "plain.yaml")).recipe.train.lr == 2e-4


_KEYS = st.sampled_from(["lr", "train", "train.lr", "method", "method.kind", "model_name", "bf16", "fp16", "lora_r", "data.path", "zzz", "defaults", "evaluate",
                         "train.optimizer", "~lr", "+epochs", "tokens_per_step", "train.log.trackers"])  # fmt: skip
_VALUES = st.sampled_from(["1", "-1", "abc", "null", "[1,2]", "{lr: 1}", "full", "true", "${train.lr}", "${lr}", "1e400", "???", "", "'x'", "{a: {b: 1}}",
                           "[${x}]", "scratch", "${train}"])  # fmt: skip


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    file=st.lists(st.tuples(_KEYS, _VALUES), max_size=4, unique_by=lambda pair: pair[0]),
    words=st.lists(st.tuples(_KEYS, _VALUES).map("=".join), max_size=3),
)
@example(file=[("train", "${train}")], words=["train.lr=1"])
@example(file=[("defaults", "{lr: 1}")], words=["defaults=[x]"])
def test_any_small_recipe_is_judged_without_a_traceback(
    tmp_path: Path, file: list[tuple[str, str]], words: list[str]
) -> None:
    path = write_recipe(
        tmp_path,
        BASE * ("model_name" not in dict(file)) + "".join(f"{key}: {value}\n" for key, value in file),
    )
    try:
        resolved = load_recipe(path, words)
    except LuthierError as fault:
        assert fault.exit_code == 2
        return
    assert set(resolved.origins) <= set(known_settings())


@pytest.mark.parametrize("value", ["abc", "-7", "true", "[1,[2]]", "''", "{}"])
def test_every_setting_answers_an_odd_value_in_plain_words(value: str, tmp_path: Path) -> None:
    path = write_recipe(tmp_path, BASE)
    for kind in ("qlora", "scratch"):  # between them they have every setting
        names = [name for name, setting in known_settings().items() if kind in (setting.kinds or (kind,))]
        words = [f"method.kind={kind}"] + [f"{name}={value}" for name in names if name != "method.kind"]
        message = fault_of(path, words).render()
        assert "Input should" not in message
        assert "pydantic" not in message


@pytest.mark.parametrize(
    "value", ["[1,2]", "{kind: {}}", "{kind: [lora]}", "5", "null", "{}", "full", "{kind: null}", "{kind: 7}"]
)
def test_an_odd_method_is_refused_in_plain_words(value: str, tmp_path: Path) -> None:
    words = [f"method={value}"]
    if value == "{}":
        assert load_recipe(write_recipe(tmp_path, BASE), words).recipe.method.kind == "lora"
        return
    assert fault_of(write_recipe(tmp_path, BASE), words).exit_code == 2
