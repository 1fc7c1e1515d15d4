"""The door: a file, what a run was made with and the words of a command line become one judged Recipe.

Each is a layer; a later one wins: run config, files, command line. Hydra composes the layers and follows the
interpolations, pydantic judges the result once, and every fault of all of them is reported together. Hydra never reads
a file itself, and nothing is instantiated.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from luthier.config.dialects import GUIDE, Entry, KeyPath, Layer, translate
from luthier.config.fields import section_names
from luthier.config.find import (
    Source,
    find_option,
    find_recipe,
    folders_of,
    list_recipes,
    read_sources,
    shown_place,
)
from luthier.config.idle import idle_settings
from luthier.config.judge import check_key, plain_words
from luthier.config.layering import lay_over
from luthier.config.method import LoraMethod
from luthier.config.overrides import PLACE as LINE
from luthier.config.overrides import Override, parse_overrides
from luthier.config.problems import MOST_LISTED, Problem, recipe_error
from luthier.config.recipe import Recipe
from luthier.config.used import leaf_names, read_config_used, resolved_tree, write_recipe

__all__ = ["Resolved", "find_recipe", "leaf_names", "list_recipes", "load_recipe", "read_config_used"]
__all__ += ["resolved_tree", "write_config_used"]

RUN_CONFIG = "run config"
DEFAULT = "default"
_PRECISION = ("train", "precision")
_FLAT_REFERENCE = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True)
class Resolved:
    """A judged recipe, and where each of its values came from.

    An origin is `configs/train.yaml:14`, `command line`, `run config` or `default`. `warnings` tell of settings that
    were given and change nothing.
    """

    recipe: Recipe
    origins: dict[str, str]
    warnings: tuple[str, ...] = ()
    source: str = ""


def load_recipe(
    name: str | Path, overrides: Sequence[str] = (), *, under: Mapping[str, Any] | None = None
) -> Resolved:
    """The recipe that `name` and the `key=value` words of the command line make.

    `name` is a path, or the name of a recipe in ./configs or among those that ship with Luthier. `under` is an
    older recipe's resolved tree (a run's config_used.yaml), which file and command line override.
    Raises RecipeError with every fault that was found.
    """
    file = find_recipe(name)
    words, problems = parse_overrides(overrides)
    groups, words = _take_groups(words, file)
    sources = read_sources(file, groups=groups)
    run_layer = translate(_flatten(under or {}, RUN_CONFIG))
    layers = [run_layer, *(_layer_of(source) for source in sources)]
    problems += _remove(words, layers)
    layers.append(_line_layer(words, layers))
    problems += [problem for layer in layers for problem in layer.problems]
    kind = _method_kind(layers)
    _forget_other_kind(run_layer, kind)
    problems += [problem for layer in layers for problem in _check_keys(layer, kind)]
    return _judge(layers, problems, source=shown_place(file))


def load_overrides(overrides: Sequence[str], *, under: Mapping[str, Any]) -> Resolved:
    """The recipe of a tree and the words of a command line, for work that has no recipe file.

    Raises RecipeError with every fault that was found.
    """
    words, problems = parse_overrides(overrides)
    layers = [translate(_flatten(under, RUN_CONFIG))]
    problems += _remove(words, layers)
    layers.append(_line_layer(words, layers))
    kind = _method_kind(layers)
    problems += [problem for layer in layers for problem in (*layer.problems, *_check_keys(layer, kind))]
    return _judge(layers, problems, source="")


def _take_groups(words: Sequence[Override], file: Path) -> tuple[dict[str, str], list[Override]]:
    """`method=small` chooses the file method/small.yaml where there is one; the other words set values."""
    folders = folders_of(file)
    groups: dict[str, str] = {}
    rest: list[Override] = []
    for word in words:
        if (
            isinstance(word.value, str)
            and word.key not in GUIDE
            and find_option(word.key, word.value, folders)
        ):
            groups[word.key] = word.value
        else:
            rest.append(word)
    return groups, rest


def _flatten(tree: Mapping[str, Any], place: str, prefix: KeyPath = ()) -> list[Entry]:
    entries: list[Entry] = []
    for key, value in tree.items():
        path = (*prefix, key)
        if isinstance(value, Mapping) and (value or ".".join(path) in section_names()):
            entries += _flatten(value, place, path)
        else:
            entries.append(Entry(path, _refer(value), ".".join(path), place))
    return entries


def _refer(value: Any) -> Any:
    """An interpolation that names a flat key, `${lr}`, names its place instead."""
    if isinstance(value, list):
        return [_refer(item) for item in value]
    if not isinstance(value, str) or "${" not in value:
        return value
    return _FLAT_REFERENCE.sub(lambda found: f"${{{_place_of_flat(found[1])}}}", value)


def _place_of_flat(name: str) -> str:
    return GUIDE[name].place if name in GUIDE else name


def _layer_of(source: Source) -> Layer:
    """What a file says. Inside a section (a group's file), no key is a flat one."""
    entries = [
        Entry((*source.below, *entry.path), entry.value, ".".join((*source.below, *entry.path)),
              source.document.place_of(entry.path))
        for entry in _flatten(source.tree, "")
    ]  # fmt: skip
    return translate(entries)


def _line_layer(words: Iterable[Override], below: Sequence[Layer]) -> Layer:
    entries: list[Entry] = []
    for word in words:
        if not word.removes:
            tree: Any = word.value
            for part in reversed(word.key.split(".")):
                tree = {part: tree}
            entries += _flatten(tree, LINE)
    precision = [layer.entries[_PRECISION].value for layer in below if _PRECISION in layer.entries]
    return translate(entries, precision_below=precision[-1] if precision else None)


def _remove(words: Iterable[Override], layers: Sequence[Layer]) -> list[Problem]:
    """Take away what `~key` names from the layers below the command line."""
    problems = []
    for word in words:
        if not word.removes:
            continue
        path = GUIDE[word.key].path if word.key in GUIDE else tuple(word.key.split("."))
        found = [(layer, at) for layer in layers for at in layer.entries if at[: len(path)] == path]
        for layer, at in found:
            del layer.entries[at]
        if not found:
            text = "removes nothing: the recipe does not set it"
            problems.append(Problem("cfg-unknown", f"~{word.key}", text, LINE))
    return problems


def _method_kind(layers: Iterable[Layer]) -> str:
    kind = "lora"
    for layer in layers:
        entry = layer.entries.get(("method", "kind"))
        kind = str(entry.value) if entry is not None else kind
    return kind


def _forget_other_kind(run_layer: Layer, kind: str) -> None:
    """A run's config holds every default of its method; they do not bind a recipe that chooses another."""
    written = run_layer.entries.get(("method", "kind"))
    if written is not None and written.value != kind:
        for path in [path for path in run_layer.entries if path[0] == "method"]:
            del run_layer.entries[path]


def _check_keys(layer: Layer, kind: str) -> list[Problem]:
    """The faults of a layer's keys, whose entries leave the layer so that the rest can be judged."""
    wrong: dict[KeyPath, Problem] = {}
    for path, entry in layer.entries.items():
        problem = check_key(entry, kind, with_hint=len(wrong) < MOST_LISTED)
        if problem is not None:
            wrong[path] = problem
    foreign = [layer.entries[path].spelt for path, problem in wrong.items() if problem.code == "cfg-conflict"]
    fix = f"Remove them, in the file or on the line: {' '.join(f'~{name}' for name in foreign)}"
    for path in wrong:
        del layer.entries[path]
    return [
        replace(problem, fix=fix) if problem.code == "cfg-conflict" else problem for problem in wrong.values()
    ]


def _judge(layers: Sequence[Layer], problems: list[Problem], *, source: str) -> Resolved:
    entries = {path: entry for layer in layers for path, entry in layer.entries.items()}
    tree, unresolved = lay_over([layer.entries for layer in layers])
    problems += unresolved
    if "method" in tree:  # pydantic asks for the tag, which people may leave out
        tree["method"].setdefault("kind", LoraMethod().kind)
    recipe = None
    try:
        recipe = Recipe.model_validate(tree)
    except ValidationError as fault:
        problems += plain_words(fault.errors(include_url=False), entries)
    if problems or recipe is None:
        raise recipe_error(problems, recipe=source)
    origins = {name: _origin(name, entries) for name in leaf_names(recipe.model_dump())}
    return Resolved(recipe, origins, idle_settings(recipe, origins), source)


def _origin(name: str, entries: Mapping[KeyPath, Entry]) -> str:
    entry = entries.get(tuple(name.split(".")))
    return entry.place if entry is not None else DEFAULT


def write_config_used(resolved: Resolved, path: Path) -> None:
    """Write the resolved recipe as YAML; load_recipe reads it back as an equal one."""
    write_recipe(resolved.recipe, path)
