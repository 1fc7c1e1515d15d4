"""What `recipe show` and `explain` say."""

from pathlib import Path

import pytest

from luthier.config.compose import load_recipe
from luthier.config.dialects import GUIDE
from luthier.config.explain import explain_setting, recipe_as_json, render_recipe
from luthier.config.fields import settings
from tests.config.recipes import BASE, write_recipe


def test_the_table_shows_every_value_and_where_it_came_from(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, BASE + "lr: 1e-3\n")
    resolved = load_recipe(path, ["epochs=2"])
    lines = render_recipe(resolved).splitlines()
    assert lines[0] == str(path)
    assert len(lines) == len(resolved.origins) + 1
    assert [
        line.split(maxsplit=2)
        for line in lines
        if line.startswith(("train.lr", "train.epochs", "train.seed"))
    ] == [
        ["train.epochs", "2.0", "command line"],
        ["train.lr", "0.001", f"{path}:2"],
        ["train.seed", "42", "default"],
    ]


def test_the_short_table_leaves_the_defaults_out(tmp_path: Path) -> None:
    text = render_recipe(load_recipe(write_recipe(tmp_path, BASE)), changed_only=True)
    assert [line.split()[0] for line in text.splitlines()[1:]] == ["model.name"]


def test_the_json_holds_the_same(tmp_path: Path) -> None:
    resolved = load_recipe(write_recipe(tmp_path, BASE), ["lora_target_modules=[a,b]"])
    values = recipe_as_json(resolved)["values"]
    assert values["method.targets"] == {"value": ["a", "b"], "origin": "command line"}
    assert values["model.name"]["origin"].endswith("mine.yaml:1")
    assert set(values) == set(resolved.origins)


@pytest.mark.parametrize("name", [*settings(), *GUIDE])
def test_every_setting_is_explained_under_each_of_its_names(name: str) -> None:
    text = explain_setting(name)
    assert text is not None
    assert "takes" in text
    assert "default" in text


def test_an_explanation_says_bounds_choices_and_kinds() -> None:
    assert "a number, greater than 0" in str(explain_setting("lr"))
    assert "one of: 4, 8" in str(explain_setting("method.bits"))
    assert "only if  method.kind is qlora" in str(explain_setting("method.bits"))
    assert "also     lora_r" in str(explain_setting("method.rank"))
    assert "warmup_stable_decay" in str(explain_setting("lr_scheduler_type"))
    assert explain_setting("nope") is None


def test_every_setting_has_a_help_sentence() -> None:
    without = [name for name, setting in settings().items() if not setting.help.rstrip().endswith(".")]
    assert len(settings()) > 60
    assert without == []
