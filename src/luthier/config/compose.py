"""The door: a file, what a run was made with and the words of a command line become one judged Recipe.

Each is a layer; a later one wins: run config, file, command line. Hydra composes the layers (and follows interpolations), pydantic
judges the result once, and every fault of all of them is reported together. Hydra never reads a file itself, and nothing is instantiated.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import yaml

from luthier.config.dialects import GUIDE, PRECISION_FLAGS, Entry, Layer, Path, translate
from luthier.config.judge import check_key, plain_words
from luthier.config.overrides import PLACE as LINE
from luthier.config.overrides import Override, parse_overrides
from luthier.config.problems import Problem, recipe_error
from luthier.config.recipe import Recipe
from luthier.config.yaml_file import Document, read_yaml
from luthier.floor.errors import RecipeError
from luthier.floor.files import write_text
from luthier.floor.lookup import nearest

RUN_CONFIG = "run config"
DEFAULT = "default"
CONFIGS = FilePath("configs")
PACKAGED = FilePath(__file__).parent.parent / "conf" / "recipe"
_FLAT_REFERENCE = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True)
class Resolved:
    """A judged recipe, and where each of its values came from: `configs/train.yaml:14`, `command line`, `run config` or `default`."""

    recipe: Recipe
    origins: dict[str, str]
    warnings: tuple[str, ...] = ()
    source: str = ""


def load_recipe(
    name: str | FilePath, overrides: Sequence[str] = (), *, under: Mapping[str, Any] | None = None
) -> Resolved:
    """The recipe that `name` and the `key=value` words of the command line make.

    `name` is a path, or the name of a recipe in ./configs or among those that ship with Luthier. `under` is an older recipe's resolved
    tree (a run's config_used.yaml), which file and command line override.
    Raises RecipeError with every fault that was found.
    """
    file = find_recipe(name)
    document = read_yaml(file, place=_place(file))
    words, problems = parse_overrides(overrides)
    run_layer = translate(_flatten(under or {}, RUN_CONFIG))
    file_layer = _layer_of(document)
    line_layer = _line_layer(words)
    problems += _remove(words, [run_layer, file_layer])
    layers = [run_layer, file_layer, line_layer]
    for layer in layers:
        problems += layer.problems
    kind = _method_kind(layers)
    _forget_other_kind(run_layer, kind)
    problems += [problem for layer in layers for problem in _check_keys(layer, kind)]
    return _judge(layers, problems, source=document.place)


def find_recipe(name: str | FilePath) -> FilePath:
    """The file of a recipe that a person named. Raises RecipeError (cfg-file) with the nearest names."""
    text = os.fspath(name)
    candidates = [FilePath(text), FilePath(f"{text}.yaml")]
    if text and os.sep not in text:
        stem = text.removesuffix(".yaml")
        candidates += [CONFIGS / f"{stem}.yaml", PACKAGED / f"{stem}.yaml"]
    for candidate in candidates:
        if os.path.isfile(candidate):  # unlike Path.is_file, False for names too long and for NUL
            return candidate
    raise _no_recipe(text)


def list_recipes() -> dict[str, FilePath]:
    """The recipes that a bare name finds: those of ./configs and, behind them, the packaged ones."""
    found = {path.stem: path for path in sorted(PACKAGED.glob("*.yaml"))}
    return found | {path.stem: path for path in sorted(CONFIGS.glob("*.yaml"))}


def _no_recipe(text: str) -> RecipeError:
    known = list_recipes()
    near = nearest(FilePath(text).stem if "\0" not in text else "", known, at_most=3)
    listed = ", ".join(near or sorted(known)) or "none; ./configs holds no recipe"
    is_folder = os.path.isdir(text)
    what = f"{text!r} is a folder, not a recipe" if is_folder else f"there is no recipe {text!r}"
    return RecipeError(
        "cfg-file",
        what,
        why=f"{'Nearest' if near else 'Known'} recipes: {listed}",
        fix="List them: ls configs",
    )


def _place(file: FilePath) -> str:
    if file.is_relative_to(PACKAGED):
        return f"luthier/conf/recipe/{file.name}"
    return str(file)


def _flatten(tree: Mapping[str, Any], place: str, prefix: Path = ()) -> list[Entry]:
    entries: list[Entry] = []
    for key, value in tree.items():
        path = (*prefix, key)
        if isinstance(value, Mapping):
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


def _layer_of(document: Document) -> Layer:
    entries = _flatten(document.tree, document.place)
    return translate(
        [Entry(entry.path, entry.value, entry.spelt, document.place_of(entry.path)) for entry in entries]
    )


def _line_layer(words: Iterable[Override]) -> Layer:
    entries: list[Entry] = []
    for word in words:
        if not word.removes:
            tree: Any = word.value
            for part in reversed(word.key.split(".")):
                tree = {part: tree}
            entries += _flatten(tree, LINE)
    return translate(entries)


def _remove(words: Iterable[Override], layers: Sequence[Layer]) -> list[Problem]:
    """Take away what `~key` names from the layers below the command line."""
    problems = []
    for word in words:
        if not word.removes:
            continue
        path = GUIDE[word.key].path if word.key in GUIDE else tuple(word.key.split("."))
        found = False
        for layer in layers:
            for entry_path in [entry_path for entry_path in layer.entries if entry_path[: len(path)] == path]:
                del layer.entries[entry_path]
                found = True
        if not found:
            problems.append(
                Problem(
                    "cfg-unknown",
                    f"~{word.key}",
                    ": the recipe does not set it, so it cannot be removed",
                    LINE,
                )
            )
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
    problems = []
    foreign = []
    for path, entry in list(layer.entries.items()):
        problem = check_key(entry, kind)
        if problem is not None:
            problems.append(problem)
            del layer.entries[path]
            if problem.code == "cfg-conflict":
                foreign.append(entry)
    if not foreign:
        return problems
    removal = " ".join(f"~{entry.spelt}" for entry in foreign)
    fix = f"Remove them, in the file or on the line: {removal}"
    return [
        Problem(
            problem.code,
            problem.key,
            problem.text,
            problem.place,
            fix if problem.code == "cfg-conflict" else "",
        )
        for problem in problems
    ]


def _judge(layers: Sequence[Layer], problems: list[Problem], *, source: str) -> Resolved:
    from pydantic import ValidationError

    entries = {path: entry for layer in layers for path, entry in layer.entries.items()}
    tree = _compose(layers, entries, problems)
    recipe = None
    if "method" in tree:
        tree["method"].setdefault("kind", "lora")
    try:
        recipe = Recipe.model_validate(tree)
    except ValidationError as fault:
        problems += plain_words(fault.errors(include_url=False), entries)
    if problems or recipe is None:
        raise recipe_error(problems, recipe=source)
    origins = {name: _origin(name, entries) for name in leaf_names(recipe.model_dump())}
    return Resolved(recipe, origins, (), source)


def _compose(
    layers: Sequence[Layer], entries: Mapping[Path, Entry], problems: list[Problem]
) -> dict[str, Any]:
    """Hydra puts the layers together and follows the interpolations; the result is plain."""
    from hydra import compose, initialize
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    store = ConfigStore.instance()
    names = [f"luthier_layer_{number}" for number in range(len(layers))]
    for name, layer in zip(names, layers, strict=True):
        store.store(name=name, node=_nest(layer.entries))
    store.store(name="luthier_recipe", node={"defaults": [*names, "_self_"]})
    with initialize(version_base="1.3", config_path=None):
        composed = compose(config_name="luthier_recipe")
    problems += _unresolved(composed, entries)
    tree: dict[str, Any] = OmegaConf.to_container(composed, resolve=True)  # type: ignore[assignment]
    return tree


def _unresolved(composed: Any, entries: Mapping[Path, Entry]) -> list[Problem]:
    """The faults of interpolations and of values left open (`???`); those values leave the tree."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    problems = []
    for path, entry in entries.items():
        key = ".".join(path)
        if entry.value == "???":
            problems.append(
                Problem("cfg-missing", entry.spelt, " is left open (???): give it a value", entry.place)
            )
        elif "${" not in str(entry.value):
            continue
        else:
            try:
                value = OmegaConf.select(composed, key, throw_on_missing=True)
                if OmegaConf.is_config(value):
                    OmegaConf.to_container(value, resolve=True, throw_on_missing=True)
                continue
            except (OmegaConfBaseException, RecursionError) as fault:
                reason = (
                    "leads back to itself"
                    if isinstance(fault, RecursionError)
                    else str(fault).splitlines()[0]
                )
                problems.append(
                    Problem("cfg-syntax", entry.spelt, f" = {entry.value}: {reason}", entry.place)
                )
        _drop(composed, path)
    return problems


def _drop(composed: Any, path: Path) -> None:
    from omegaconf import OmegaConf, open_dict

    parent = OmegaConf.select(composed, ".".join(path[:-1])) if len(path) > 1 else composed
    with open_dict(composed):
        del parent[path[-1]]


def _nest(entries: Mapping[Path, Entry]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, entry in entries.items():
        node = tree
        for part in path[:-1]:
            node = node.setdefault(part, {})
        node[path[-1]] = entry.value
    return tree


def leaf_names(tree: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The dotted names of every value of a resolved recipe, lists as one value."""
    names = []
    for key, value in tree.items():
        names += leaf_names(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [f"{prefix}{key}"]
    return names


def _origin(name: str, entries: Mapping[Path, Entry]) -> str:
    entry = entries.get(tuple(name.split(".")))
    return entry.place if entry is not None else DEFAULT


def resolved_tree(recipe: Recipe) -> dict[str, Any]:
    """The whole recipe as plain values, such that Recipe reads it back as the same.

    With tokens_per_step the rows of a step are left out: given, they would be a second dial.
    """
    tree: dict[str, Any] = recipe.model_dump(mode="json")
    if recipe.train.tokens_per_step:
        for name in ("batch_size", "gradient_accumulation_steps"):
            del tree["train"][name]
    return tree


def write_config_used(resolved: Resolved, path: FilePath) -> None:
    """Write the resolved recipe as YAML; load_recipe reads it back as an equal one."""
    text = yaml.safe_dump(resolved_tree(resolved.recipe), sort_keys=False, allow_unicode=True, width=110)
    write_text(path, text)


def read_config_used(path: FilePath) -> dict[str, Any]:
    """The tree that write_config_used wrote, to be passed as `under`."""
    return read_yaml(path).tree


assert all(flag in GUIDE for flag in PRECISION_FLAGS), "the precision flags are flat keys"
