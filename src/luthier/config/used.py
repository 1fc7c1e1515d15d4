"""A judged recipe as plain values and as YAML: the config_used.yaml of a run, from which the recipe can be had again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from luthier.config.recipe import Recipe
from luthier.config.yaml_file import read_yaml, resolve_scalar
from luthier.floor.files import write_text


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # PyYAML brings no types
    """Quotes what our reader, or one of YAML 1.1, would not read as text."""


def _write_text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    is_text = isinstance(resolve_scalar(value), str) and not value.lstrip("+-").startswith("0")
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if is_text else '"')


_Dumper.add_representer(str, _write_text)


def resolved_tree(recipe: Recipe) -> dict[str, Any]:
    """The whole recipe as plain values, such that Recipe reads it back as the same.

    With tokens_per_step the rows of a step are left out: given, they would be a second dial.
    """
    tree: dict[str, Any] = recipe.model_dump(mode="json")
    if recipe.train.tokens_per_step:
        for name in ("batch_size", "gradient_accumulation_steps"):
            del tree["train"][name]
    return tree


def leaf_names(tree: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The dotted names of every value of a resolved recipe, lists as one value."""
    names = []
    for key, value in tree.items():
        names += leaf_names(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [f"{prefix}{key}"]
    return names


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Write the whole recipe to `path`, with every value."""
    text = yaml.dump(resolved_tree(recipe), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    write_text(path, text)


def read_config_used(path: Path) -> dict[str, Any]:
    """The tree that write_recipe wrote, to be passed to load_recipe as `under`."""
    return read_yaml(path).tree
