"""Find recipes by the names people give them, and the further files that a recipe's `defaults` list names.

`defaults` follows Hydra: a name is a recipe to start from, `group: option` is the file group/option.yaml whose keys
belong below `group`, `_self_` is the recipe itself (without it, the recipe comes last and wins). Judges nothing.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.config.problems import Problem, recipe_error
from luthier.config.yaml_file import Document, read_yaml
from luthier.floor.errors import RecipeError
from luthier.floor.lookup import nearest

CONFIGS = Path("configs")
PACKAGED = Path(__file__).parent.parent / "conf"
RECIPES = PACKAGED / "recipe"
SELF = "_self_"
MOST_LEVELS = 10
_NAME = re.compile(r"[\w-]+([./][\w-]+)*")
_GLOBAL = re.compile(r"#\s*@package\s+_global_")


@dataclass(frozen=True)
class Source:
    """A file that takes part in a recipe, and the section that its keys lie below."""

    document: Document
    below: tuple[str, ...] = ()

    @property
    def tree(self) -> dict[str, Any]:
        """What it sets, without its list of defaults."""
        return {key: value for key, value in self.document.tree.items() if key != "defaults"}


def find_recipe(name: str | Path) -> Path:
    """The file of a recipe that a person named. Raises RecipeError (cfg-file) with the nearest names."""
    text = os.fspath(name)
    candidates = [Path(text), Path(f"{text}.yaml")]
    if text and os.sep not in text:
        stem = text.removesuffix(".yaml")
        candidates += [CONFIGS / f"{stem}.yaml", RECIPES / f"{stem}.yaml"]
    for candidate in candidates:
        if os.path.isfile(candidate):  # unlike Path.is_file, False for names too long and for NUL
            return candidate
    raise _no_recipe(text)


def list_recipes() -> dict[str, Path]:
    """The recipes that a bare name finds: those of ./configs and, behind them, the packaged ones."""
    found = {path.stem: path for path in sorted(RECIPES.glob("*.yaml"))}
    return found | {path.stem: path for path in sorted(CONFIGS.glob("*.yaml"))}


def _no_recipe(text: str) -> RecipeError:
    known = list_recipes()
    near = nearest(Path(text).stem, known, at_most=3) if "\0" not in text else []
    listed = ", ".join(near or sorted(known)) or "none; ./configs holds no recipe"
    is_folder = bool(text) and os.path.isdir(text)
    what = f"{text!r} is a folder, not a recipe" if is_folder else f"there is no recipe {text!r}"
    why = f"{'Nearest' if near else 'Known'} recipes: {listed}"
    return RecipeError("cfg-file", what, where=text, why=why, fix="List them: ls configs")


def shown_place(file: Path) -> str:
    """What messages call a recipe's file."""
    return f"luthier/conf/{file.relative_to(PACKAGED)}" if file.is_relative_to(PACKAGED) else str(file)


def folders_of(file: Path) -> list[Path]:
    """Where the files that a recipe names are looked for, the nearest first."""
    return [file.parent, CONFIGS, RECIPES, PACKAGED]


def read_sources(file: Path, *, groups: Mapping[str, str]) -> list[Source]:
    """The recipe in `file` and all that its `defaults` name, each before what overrides it.

    `groups` are choices from the command line: they replace the option of a group that the recipe names, or come
    last.
    Raises RecipeError if a file is not readable or not there, or if the names lead in a circle.
    """
    reader = _Reader(folders_of(file), dict(groups))
    sources = reader.expand(read_yaml(file, place=shown_place(file)), ())
    sources += [reader.option(group, option, "command line") for group, option in reader.groups.items()]
    if reader.problems:
        raise recipe_error(reader.problems, recipe=shown_place(file))
    return sources


def find_option(group: str, option: str, folders: Sequence[Path]) -> Path | None:
    """The file of an option, if there is one."""
    if not _NAME.fullmatch(group) or not _NAME.fullmatch(option):
        return None
    found = (folder / group / f"{option}.yaml" for folder in folders)
    return next((path for path in found if os.path.isfile(path)), None)


@dataclass
class _Reader:
    folders: list[Path]
    groups: dict[str, str]

    def __post_init__(self) -> None:
        self.problems: list[Problem] = []

    def expand(self, document: Document, parents: tuple[str, ...]) -> list[Source]:
        """The sources of a document in the order in which they are laid over each other."""
        itself = Source(document)
        entries = document.tree.get("defaults", [])
        place = document.place_of(("defaults",))
        if not isinstance(entries, list):
            self._problem("cfg-type", "must be a list of recipe names", place)
            return [itself]
        if document.place in parents or len(parents) >= MOST_LEVELS:
            self._problem(
                "cfg-conflict", f"leads in a circle: {' > '.join([*parents, document.place])}", place
            )
            return [itself]
        sources: list[Source] = []
        for entry in entries if SELF in entries else [*entries, SELF]:
            sources += [itself] if entry == SELF else self._one(entry, place, (*parents, document.place))
        return sources

    def _one(self, entry: Any, place: str, parents: tuple[str, ...]) -> list[Source]:
        if isinstance(entry, str):
            return self._recipe(entry, place, parents)
        if isinstance(entry, dict) and len(entry) == 1:
            group, option = next(iter(entry.items()))
            option = self.groups.pop(group) if group in self.groups else option
            if option is None:
                return []
            if isinstance(option, str):
                return [self.option(group, option, place)]
        self._problem("cfg-type", "must name recipes, or a `group: option`", place)
        return []

    def _recipe(self, name: str, place: str, parents: tuple[str, ...]) -> list[Source]:
        stem = name.removesuffix(".yaml")
        files = [folder / f"{stem}.yaml" for folder in self.folders] if _NAME.fullmatch(stem) else []
        for file in files:
            if os.path.isfile(file):
                return self.expand(read_yaml(file, place=shown_place(file)), parents)
        near = nearest(stem, list_recipes())
        self._problem("cfg-file", f"names {name!r}, and there is no such recipe" + _hint(near), place)
        return []

    def option(self, group: str, option: str, place: str) -> Source:
        """The source of `group: option`; an empty one, and a problem, if there is no such file."""
        file = find_option(group, option, self.folders)
        if file is None:
            self._problem(
                "cfg-file", f"names {group}: {option}, and there is no {group}/{option}.yaml", place
            )
            return Source(Document(place, {}, {}))
        document = read_yaml(file, place=shown_place(file))
        below = () if _GLOBAL.match(document.header) else tuple(re.split(r"[./]", group))
        return Source(document, below)

    def _problem(self, code: str, text: str, place: str) -> None:
        self.problems.append(Problem(code, "defaults", text, place))


def _hint(near: Sequence[str]) -> str:
    return f"; did you mean {near[0]}?" if near else ""
