"""The schema's verdict in plain words: pydantic's findings, and keys that are no setting.

One `Problem` a finding, under the name the person wrote and with the place where they wrote it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from luthier.config.dialects import GUIDE, Entry, KeyPath
from luthier.config.fields import METHODS, annotation_in, choices_of, item_section, section_names, settings
from luthier.config.problems import Problem, show
from luthier.floor.lookup import did_you_mean, nearest

_LONGEST_NAME = 80  # of a key that may be a misspelt setting; the longest setting has 34
_RULES = ("value_error", "assertion_error")
_WORD = re.compile(r"[\w.]+")
_LEAST: dict[str, str] = {
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
    "finite_number": "must be a finite number",
}
_TYPES: dict[str, str] = {
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "must be a whole number of at most 4,300 digits",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text; quote it if it looks like a number",
    "tuple_type": "must be a list, such as [a, b]",
    "model_type": "must be a section with settings of its own",
    "model_attributes_type": "must be a section with settings of its own",
    "dict_type": "must be a section with settings of its own",
}


def check_key(entry: Entry, kind: str, *, with_hint: bool = True) -> Problem | None:
    """What is wrong with the key of `entry` in a recipe whose `method.kind` is `kind`; None if nothing is.

    `with_hint` looks for the setting that was meant, which takes milliseconds a key.
    """
    name = ".".join(entry.path)
    if any("." in part for part in entry.path):
        return Problem("cfg-unknown", entry.spelt, "holds a dot: in a file, settings are nested", entry.place)
    setting = settings().get(name)
    if setting is not None:
        return _check_kind(entry, setting.kinds, kind)
    if name in section_names():
        return _not_a_section(entry, name)
    for cut in range(len(entry.path) - 1, 0, -1):
        above = ".".join(entry.path[:cut])
        if above in settings():
            return Problem("cfg-type", above, "takes one value, not settings below it", entry.place)
    return Problem(
        "cfg-unknown",
        entry.spelt,
        f"is not a setting{_suggest(entry.spelt) if with_hint else ''}",
        entry.place,
    )


def _not_a_section(entry: Entry, name: str) -> Problem:
    if entry.value is None:
        return Problem("cfg-type", name, "is empty: give it settings, or remove it", entry.place)
    words = "must be a section with settings of its own"
    if name == "method" and isinstance(entry.value, str) and entry.value in METHODS:
        words += f"; did you mean method.kind={entry.value}?"
    return Problem("cfg-type", name, words, entry.place, value=show(entry.value))


def _suggest(name: str) -> str:
    """The setting that was meant: of the same name elsewhere, or of a like name, nearest first."""
    if len(name) > _LONGEST_NAME:
        return ""
    section, _, last = name.rpartition(".")
    namesakes = [known for known in settings() if known.rpartition(".")[2] == last]
    if last in GUIDE and section:
        namesakes.append(GUIDE[last].place)
    if namesakes:
        return did_you_mean(name, namesakes) if section else f"; did you mean {namesakes[0]}?"
    if section in section_names():
        near = nearest(
            last, [known.rpartition(".")[2] for known in settings() if known.startswith(f"{section}.")]
        )
        return f"; did you mean {section}.{near[0]}?" if near else ""
    return did_you_mean(name, [*GUIDE, *section_names()]) or did_you_mean(name, settings())


def _check_kind(entry: Entry, kinds: Sequence[str], kind: str) -> Problem | None:
    if not kinds or kind in kinds or kind not in METHODS:
        return None
    have = " or ".join(kinds)
    words = f"belongs to method.kind {have}, and this recipe's is {kind}"
    return Problem("cfg-conflict", entry.spelt, words, entry.place)


def plain_words(findings: Iterable[Mapping[str, Any]], entries: Mapping[KeyPath, Entry]) -> list[Problem]:
    """Pydantic's findings (`ValidationError.errors()`) as problems, placed by what people wrote."""
    return [_plain_word(finding, entries) for finding in findings]


def _plain_word(finding: Mapping[str, Any], entries: Mapping[KeyPath, Entry]) -> Problem:
    path = _path_of(finding["loc"])
    kind: str = finding["type"]
    context: Mapping[str, Any] = finding.get("ctx", {})
    if kind in _RULES or kind.startswith("cfg-"):
        return _rule(kind, path, str(context.get("error", finding["msg"])), finding["input"], entries)
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        path, value = ("method", "kind"), finding["input"].get("kind")
    else:
        value = finding["input"]
    name, place = _name_and_place(path, entries)
    code, words = _words(finding, path, value)
    return Problem(code, name, words, place, value=show(value))


def _words(finding: Mapping[str, Any], path: KeyPath, value: Any) -> tuple[str, str]:
    kind: str = finding["type"]
    if kind == "literal_error":
        return "cfg-range", _choose(value, _choices(path))
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return "cfg-range", _choose(value, tuple(METHODS))
    if kind == "missing":
        return "cfg-missing", "is missing"
    if kind == "extra_forbidden":
        return "cfg-unknown", f"is not a setting of an item{_suggest_in_item(path)}"
    if kind in _LEAST:
        return "cfg-range", _LEAST[kind].format(**_bounds(finding))
    return "cfg-type", _TYPES.get(kind, str(finding["msg"]))


def _bounds(finding: Mapping[str, Any]) -> dict[str, Any]:
    """The bounds of a finding, whole ones without a point: 0, not 0.0."""
    bounds: Mapping[str, Any] = finding.get("ctx", {})
    return {key: f"{bound:g}" if isinstance(bound, float) else bound for key, bound in bounds.items()}


def _choices(path: KeyPath) -> tuple[Any, ...]:
    leaf = _leaf_of(path)
    annotation = settings()[".".join(leaf)].info.annotation
    item = item_section(annotation)
    inside = path[len(leaf) + 1 :]  # behind the number of the item
    return choices_of(annotation_in(item, inside) if item is not None and inside else annotation)


def _suggest_in_item(path: KeyPath) -> str:
    """The setting of a list's item that was meant."""
    leaf = _leaf_of(path)
    item = item_section(settings()[".".join(leaf)].info.annotation) if leaf else None
    return did_you_mean(path[-1], item.model_fields) if item is not None else ""


def _choose(value: Any, choices: Sequence[Any]) -> str:
    hint = did_you_mean(value, [str(choice) for choice in choices]) if isinstance(value, str) else ""
    return f"must be one of: {', '.join(str(choice) for choice in choices)}{hint}"


def _rule(kind: str, path: KeyPath, words: str, value: Any, entries: Mapping[KeyPath, Entry]) -> Problem:
    """A validator of ours spoke: on a leaf about its value, on a section about how several settings agree."""
    name = ".".join(path)
    if _leaf_of(path):
        spelt, place = _name_and_place(path, entries)
        return Problem("cfg-range", spelt, words, place, value=show(value))
    code = kind if kind.startswith("cfg-") else "cfg-conflict"
    text = f"{name}: {words}" if name else words
    return Problem(code, "", text, ", ".join(_places_of(path, words, entries)))


def _places_of(path: KeyPath, words: str, entries: Mapping[KeyPath, Entry]) -> list[str]:
    """Where the settings stand that a rule of the section `path` speaks of."""
    spoken = set(_WORD.findall(words))
    found = [
        entry.place
        for entry_path, entry in entries.items()
        if entry_path[: len(path)] == path
        and (entry_path[-1] in spoken if path else ".".join(entry_path) in spoken)
    ]
    return list(dict.fromkeys(found))


def _leaf_of(path: KeyPath) -> KeyPath:
    """The setting that `path` is, or is an item of; empty if it is a section."""
    while path and ".".join(path) not in settings():
        path = path[:-1]
    return path


def _name_and_place(path: KeyPath, entries: Mapping[KeyPath, Entry]) -> tuple[str, str]:
    """The setting as the person wrote it, with the number of the item in a list, and where it stands."""
    leaf = _leaf_of(path) or path
    entry = entries.get(leaf)
    name = entry.spelt if entry is not None else ".".join(leaf)
    items = "".join(f"[{part}]" if part.isdecimal() else f".{part}" for part in path[len(leaf) :])
    return f"{name}{items}", entry.place if entry is not None else ""


def _path_of(location: Sequence[str | int]) -> KeyPath:
    """The place in the recipe; pydantic puts the kind of a union between `method` and the field."""
    parts = tuple(str(part) for part in location)
    if len(parts) > 1 and parts[0] == "method" and parts[1] in METHODS:
        return ("method", *parts[2:])
    return parts
