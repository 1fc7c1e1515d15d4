"""The settings of the recipe as a list, walked from the pydantic sections: there is no second list of names."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from luthier.config.base import Section
from luthier.config.method import FullMethod, LoraMethod, QloraMethod, ScratchMethod
from luthier.config.recipe import Recipe

METHODS: dict[str, type[Section]] = {
    "lora": LoraMethod,
    "qlora": QloraMethod,
    "full": FullMethod,
    "scratch": ScratchMethod,
}


@dataclass(frozen=True)
class Setting:
    """One leaf of the recipe; `kinds` are the values of `method.kind` that have it (empty: every one)."""

    path: tuple[str, ...]
    section: type[Section]
    info: FieldInfo
    kinds: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return ".".join(self.path)

    def default(self) -> Any:
        """The value that it has where nobody sets it, as YAML would hold it."""
        value = self.info.get_default(call_default_factory=True)
        return list(value) if isinstance(value, tuple) else value

    @property
    def help(self) -> str:
        if self.path == ("method", "kind"):
            return " ".join(f"`{kind}`: {_first_line(section)}" for kind, section in METHODS.items())
        return " ".join((self.info.description or "").split())


@cache
def settings() -> dict[str, Setting]:
    """Every setting by its dotted name, in the order of the schema; those of all method kinds."""
    found: dict[str, Setting] = {}
    for name, info in Recipe.model_fields.items():
        if name == "method":
            found |= _method_settings()
        else:
            found |= {setting.name: setting for setting in _walk(info, Recipe, (name,))}
    return found


def _method_settings() -> dict[str, Setting]:
    found: dict[str, Setting] = {}
    for kind, section in METHODS.items():
        for setting in _walk_section(section, ("method",)):
            first = found.get(setting.name, setting)
            found[setting.name] = replace(first, kinds=(*first.kinds, kind))
    return found


@cache
def section_names() -> frozenset[str]:
    """The dotted names that hold settings: `train`, `train.optimizer`, ..."""
    return frozenset(
        ".".join(setting.path[:cut]) for setting in settings().values() for cut in range(1, len(setting.path))
    )


def _first_line(section: type[Section]) -> str:
    return (section.__doc__ or "").strip().splitlines()[0]


def _walk(info: FieldInfo, section: type[Section], path: tuple[str, ...]) -> Iterator[Setting]:
    inner = section_of(info.annotation)
    if inner is None:
        yield Setting(path, section, info)
    else:
        yield from _walk_section(inner, path)


def _walk_section(section: type[Section], path: tuple[str, ...]) -> Iterator[Setting]:
    for name, info in section.model_fields.items():
        yield from _walk(info, section, (*path, name))


def section_of(annotation: Any) -> type[Section] | None:
    """The section that a field holds, if it holds one."""
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


def item_section(annotation: Any) -> type[Section] | None:
    """The section that the items of a list are, if they are sections."""
    inner = [section_of(argument) or item_section(argument) for argument in get_args(annotation)]
    return next((section for section in inner if section is not None), None)


def annotation_in(section: type[Section], path: tuple[str, ...]) -> Any:
    """What a setting takes that lies inside an item of a list, `("columns", "text")`; None if there is none."""
    info = section.model_fields.get(path[0]) if path else None
    if info is None:
        return None
    inner = section_of(info.annotation)
    return annotation_in(inner, path[1:]) if inner is not None and len(path) > 1 else info.annotation


def choices_of(annotation: Any) -> tuple[Any, ...]:
    """The values that a Literal allows, wherever it is wrapped, also of a list's items; empty if there is none."""
    origin = get_origin(annotation)
    if origin in (Annotated, Union, UnionType, tuple):
        return tuple(choice for argument in get_args(annotation) for choice in choices_of(argument))
    return get_args(annotation) if origin is Literal else ()
