"""Hydra lays the layers over each other and follows `${section.key}`; what comes out is plain.

Nothing is read from a file here: the layers wait in Hydra's store. Values that cannot be had (left open as `???`, or
whose interpolation is unreadable, leads nowhere or in a circle) are left out and told as problems.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from luthier.config.dialects import Entry, KeyPath
from luthier.config.fields import settings
from luthier.config.problems import Problem, cut, show

OPEN = "???"  # Hydra's sign for a value that somebody must give
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")

Entries = Mapping[KeyPath, Entry]
Values = dict[KeyPath, Any]


def lay_over(layers: Sequence[Entries]) -> tuple[dict[str, Any], list[Problem]]:
    """The tree of all layers, a later one over an earlier one, and what of it could not be had."""
    from omegaconf import OmegaConf

    entries = {path: entry for layer in layers for path, entry in layer.items()}
    broken = _found({path: _unreadable(entry) for path, entry in entries.items()})
    values = [{path: entry.value for path, entry in layer.items() if path not in broken} for layer in layers]
    defaults = _referenced_defaults(entries)
    composed = _compose([defaults, *values])
    sound = {path: entry for path, entry in entries.items() if path not in broken}
    unresolved = _found({path: _unresolved(composed, path, entry) for path, entry in sound.items()})
    for path in unresolved:
        _drop(composed, path)
    tree: dict[str, Any] = OmegaConf.to_container(composed, resolve=True)  # type: ignore[assignment]
    for path in defaults:
        _section_of(tree, path).pop(path[-1])
    return tree, [*broken.values(), *unresolved.values()]


def _found(problems: Mapping[KeyPath, Problem | None]) -> dict[KeyPath, Problem]:
    return {path: problem for path, problem in problems.items() if problem is not None}


def _compose(layers: Sequence[Values]) -> Any:
    from hydra import compose, initialize
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    trees = [_nest(layer) for layer in layers if layer]
    names = [f"luthier_layer_{number}" for number in range(len(trees))]
    for name, tree in zip(names, trees, strict=True):
        store.store(name=name, node=tree)
    store.store(name="luthier_recipe", node={"defaults": [*names, "_self_"]})
    with initialize(version_base="1.3", config_path=None):
        return compose(config_name="luthier_recipe")


def _nest(layer: Values) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in layer.items():
        _section_of(tree, path)[path[-1]] = value
    return tree


def _section_of(tree: dict[str, Any], path: KeyPath) -> dict[str, Any]:
    """The section of a plain tree that holds the setting at `path`, made if it is not there."""
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    return tree


def _unreadable(entry: Entry) -> Problem | None:
    from omegaconf.errors import OmegaConfBaseException
    from omegaconf.grammar_parser import parse

    if entry.value == OPEN:
        return Problem("cfg-missing", entry.spelt, f"is left open ({OPEN}): give it a value", entry.place)
    for text in _interpolations(entry.value):
        try:
            parse(text)
        except (OmegaConfBaseException, RecursionError) as fault:
            words = f"is not readable: {_first_line(fault)}"
            return Problem("cfg-syntax", entry.spelt, words, entry.place, value=show(entry.value))
    return None


def _interpolations(value: Any) -> Iterator[str]:
    """The texts in a value, at any depth, that hold `${`. Depth is bounded where the value was read."""
    if isinstance(value, str) and "${" in value:
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _interpolations(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _interpolations(item)


def _referenced_defaults(entries: Entries) -> Values:
    """The defaults of the settings that are repeated somewhere and set nowhere: `${train.lr}` means them too."""
    texts = (text for entry in entries.values() for text in _interpolations(entry.value))
    names = {name for text in texts for name in _REFERENCE.findall(text)}
    known = [settings()[name] for name in sorted(names) if name in settings()]
    return {setting.path: setting.default() for setting in known if setting.path not in entries}


def _unresolved(composed: Any, path: KeyPath, entry: Entry) -> Problem | None:
    """The problem of a setting whose interpolation leads nowhere or in a circle."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if not any(_interpolations(entry.value)):
        return None
    try:
        value = OmegaConf.select(composed, ".".join(path))
        if OmegaConf.is_config(value):
            OmegaConf.to_container(value, resolve=True)
    except (OmegaConfBaseException, RecursionError) as fault:
        words = "leads back to itself" if _is_circle(fault) else _first_line(fault)
        return Problem("cfg-syntax", entry.spelt, words, entry.place, value=show(entry.value))
    return None


def _is_circle(fault: Exception) -> bool:
    return isinstance(fault, RecursionError) or "Recursive" in str(fault) or "parent node" in str(fault)


def _first_line(fault: Exception) -> str:
    return cut(str(fault).partition("\n")[0], most=160)


def _drop(composed: Any, path: KeyPath) -> None:
    from omegaconf import OmegaConf, open_dict

    parent = OmegaConf.select(composed, ".".join(path[:-1])) if len(path) > 1 else composed
    with open_dict(composed):
        del parent[path[-1]]
