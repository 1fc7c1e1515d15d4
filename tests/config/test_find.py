"""Recipes are found by name, and may start from others."""

import os
from pathlib import Path

import pytest

from luthier.config.compose import load_recipe
from luthier.config.find import find_recipe, list_recipes
from luthier.floor.errors import RecipeError
from tests.config.recipes import BASE, fault_of, write_recipe


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with some recipes in ./configs, which is where we stand."""
    monkeypatch.chdir(tmp_path)
    for name in ("train", "demo"):
        write_recipe(tmp_path / "configs", BASE, f"{name}.yaml")
    return tmp_path


@pytest.mark.parametrize("name", ["train", "train.yaml", "configs/train", "configs/train.yaml"])
def test_a_recipe_goes_by_its_name_or_its_path(project: Path, name: str) -> None:
    assert find_recipe(name) == Path("configs/train.yaml")
    assert load_recipe(name).source == "configs/train.yaml"


def test_a_file_here_comes_before_the_one_in_configs(project: Path) -> None:
    write_recipe(project, BASE, "train.yaml")
    assert find_recipe("train") == Path("train.yaml")


@pytest.mark.parametrize(
    "name", ["trian", "", "configs", "x" * 5000, "a\0b", "configs/nope", "/dev/null", "../.."]
)
def test_what_is_no_recipe_is_refused_with_the_known_names(project: Path, name: str) -> None:
    fault = fault_of(name)
    assert fault.code == "cfg-file"
    assert "train" in fault.why


def test_a_misspelt_name_lists_the_nearest(project: Path) -> None:
    assert fault_of("trian").why.startswith("Nearest recipes: train")


def test_a_project_without_recipes_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("luthier.config.find.RECIPES", tmp_path)
    assert "no recipe" in fault_of("train").why


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_recipe_that_may_not_be_read_is_an_environment_fault(project: Path) -> None:
    (project / "configs/train.yaml").chmod(0)
    assert fault_of("train").code == "env-permission"


def test_the_shipped_recipes_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    assert {"train", "eval", "eval_baseline", "demo", "pretrain"} <= set(list_recipes())


def test_the_command_that_a_fault_of_a_shipped_recipe_names_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError) as caught:
        load_recipe("demo", ["train.lr=-1"])
    assert caught.value.fix == "Then check it: luthier validate demo"
    assert load_recipe("demo").source == "luthier/conf/recipe/demo.yaml"


def test_a_recipe_starts_from_others_and_has_the_last_word(project: Path) -> None:
    write_recipe(project / "configs", "lr: 1e-3\nepochs: 2\ntrain: {seed: 5}\n", "quick.yaml")
    path = write_recipe(project / "configs", "defaults:\n  - train\n  - quick\nlr: 2e-3\n")
    resolved = load_recipe(path)
    train = resolved.recipe.train
    assert (train.lr, train.epochs, train.seed, resolved.recipe.model.name) == (2e-3, 2.0, 5, "embedded")
    assert resolved.origins["train.epochs"] == f"{path.parent / 'quick.yaml'}:2"


def test_self_says_when_a_recipe_speaks(project: Path) -> None:
    write_recipe(project / "configs", "lr: 1e-3\n", "quick.yaml")
    path = write_recipe(project / "configs", BASE + "defaults: [_self_, quick]\nlr: 2e-3\n")
    assert load_recipe(path).recipe.train.lr == 1e-3


def test_a_group_lies_below_its_name(project: Path) -> None:
    write_recipe(project / "configs/method", "kind: qlora\nrank: 8\n", "small.yaml")
    write_recipe(project / "configs/method", "kind: lora\nrank: 256\n", "large.yaml")
    write_recipe(project / "configs/train", "# @package _global_\nlr: 1e-3\n", "fast.yaml")
    path = write_recipe(project / "configs", BASE + "defaults:\n  - method: small\n  - train: fast\n")
    recipe = load_recipe(path).recipe
    assert (recipe.method.kind, recipe.method.rank, recipe.train.lr) == ("qlora", 8, 1e-3)  # type: ignore[union-attr]
    other = load_recipe(path, ["method=large"])
    assert other.recipe.method.rank == 256  # type: ignore[union-attr]
    assert other.origins["method.rank"].endswith("method/large.yaml:2")
    assert load_recipe("train", ["method=small", "method.rank=9"]).recipe.method.rank == 9  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "code", "part"),
    [
        ("defaults: [nope]\n", "cfg-file", "no such recipe"),
        ("defaults: [tran]\n", "cfg-file", "did you mean train?"),
        ("defaults: [mine]\n", "cfg-conflict", "circle"),
        ("defaults: train\n", "cfg-type", "list"),
        ("defaults: [1]\n", "cfg-type", "name recipes"),
        ("defaults: [{a: b, c: d}]\n", "cfg-type", "name recipes"),
        ("defaults: [method: nope]\n", "cfg-file", "method/nope.yaml"),
        ("defaults: ['../../etc/passwd']\n", "cfg-file", "no such recipe"),
        ("defaults: [/etc/hosts]\n", "cfg-file", "no such recipe"),
        ("defaults: [method: ../../x]\n", "cfg-file", "there is no"),
    ],
)
def test_a_wrong_default_is_refused(project: Path, text: str, code: str, part: str) -> None:
    fault = fault_of(write_recipe(project / "configs", BASE + text))
    assert fault.code == code
    assert part in fault.render()


def test_a_fault_in_a_recipe_below_names_its_file(project: Path) -> None:
    write_recipe(project / "configs", "a: 1\na: 2\n", "twice.yaml")
    fault = fault_of(write_recipe(project / "configs", BASE + "defaults: [twice]\n"))
    assert "twice.yaml:2" in fault.where


def test_the_shipped_recipes_come_along_with_an_installed_luthier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    resolved = load_recipe("demo")
    assert resolved.source == "luthier/conf/recipe/demo.yaml"
    assert resolved.origins["model.name"].startswith("luthier/conf/recipe/demo.yaml:")
