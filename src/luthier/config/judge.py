"""The schema's verdict in plain words: pydantic's findings, and keys that are no setting.

One `Problem` a finding, under the name the person wrote and with the place where they wrote it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from luthier.config.dialects import GUIDE, Entry, Path
from luthier.config.fields import METHODS, choices_of, section_names, settings
from luthier.config.problems import Problem
from luthier.floor.lookup import did_you_mean

_LEAST: dict[str, str] = {
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must not be empty",
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


def check_key(entry: Entry, kind: str) -> Problem | None:
    """What is wrong with the key of `entry` in a recipe whose `method.kind` is `kind`; None if it is a setting of it."""
    name = ".".join(entry.path)
    setting = settings().get(name)
    if setting is not None:
        return _check_kind(entry, setting.kinds, kind)
    if name in section_names():
        empty = " is empty: give it settings, or remove it"
        text = (
            empty
            if entry.value is None
            else f" = {show(entry.value)}: must be a section with settings of its own"
        )
        return Problem("cfg-type", entry.spelt, text, entry.place)
    for cut in range(len(entry.path) - 1, 0, -1):
        if ".".join(entry.path[:cut]) in settings():
            return Problem(
                "cfg-type", ".".join(entry.path[:cut]), " takes one value, not settings below it", entry.place
            )
    if len(entry.path) == 1 and "." in name and name in settings():
        return Problem("cfg-unknown", name, " in one word is not read in a file: nest it", entry.place)
    return Problem("cfg-unknown", entry.spelt, f" is not a setting{_suggest(entry.spelt)}", entry.place)


def _suggest(name: str) -> str:
    if "." in name:
        return did_you_mean(name, [*settings(), *section_names()])
    return did_you_mean(name, [*GUIDE, *section_names()]) or did_you_mean(name, settings())


def _check_kind(entry: Entry, kinds: Sequence[str], kind: str) -> Problem | None:
    if not kinds or kind in kinds or kind not in METHODS:
        return None
    have = " or ".join(kinds)
    text = f" belongs to method.kind {have}, and this recipe's is {kind}"
    return Problem("cfg-conflict", entry.spelt, text, entry.place)


def plain_words(findings: Iterable[Mapping[str, Any]], entries: Mapping[Path, Entry]) -> list[Problem]:
    """Pydantic's findings (`ValidationError.errors()`) as problems, placed by the entries that people wrote."""
    return [_plain_word(finding, entries) for finding in findings]


def _plain_word(finding: Mapping[str, Any], entries: Mapping[Path, Entry]) -> Problem:
    path = _path_of(finding["loc"])
    entry = _entry_of(path, entries)
    kind: str = finding["type"]
    context: Mapping[str, Any] = finding.get("ctx", {})
    if kind in ("value_error", "assertion_error") or kind.startswith("cfg-"):
        return _rule(kind, path, str(context.get("error", finding["msg"])), finding["input"], entry)
    name = entry.spelt if entry is not None and entry.path == path else ".".join(path)
    place = entry.place if entry is not None else ""
    code, words = _words(kind, path, context, finding)
    return Problem(code, name, f" = {show(finding['input'])}: {words}", place)


def _words(kind: str, path: Path, context: Mapping[str, Any], finding: Mapping[str, Any]) -> tuple[str, str]:
    if kind == "literal_error":
        return "cfg-range", _choose(finding["input"], _choices(path))
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return "cfg-range", _choose(finding["input"].get("kind"), tuple(METHODS))
    if kind in _LEAST:
        return "cfg-range", _LEAST[kind].format(**context)
    if kind in _TYPES:
        return "cfg-type", _TYPES[kind]
    return "cfg-type", str(finding["msg"]).lower()


def _choices(path: Path) -> tuple[Any, ...]:
    while path and ".".join(path) not in settings():
        path = path[:-1]  # inside a list, the last part is an index
    return choices_of(settings()[".".join(path)].info.annotation) if path else ()


def _choose(value: Any, choices: Sequence[Any]) -> str:
    hint = did_you_mean(value, [str(choice) for choice in choices]) if isinstance(value, str) else ""
    return f"must be one of: {', '.join(str(choice) for choice in choices)}{hint}"


def _rule(kind: str, path: Path, words: str, value: Any, entry: Entry | None) -> Problem:
    """A validator of ours spoke: on a leaf about its value, on a section about several settings."""
    name = ".".join(path)
    code = kind if kind.startswith("cfg-") else "cfg-range" if name in settings() else "cfg-conflict"
    place = entry.place if entry is not None and entry.path == path else ""
    if name not in settings():
        return Problem(
            code, "", words if name in ("", "method") or words.startswith(name) else f"{name}: {words}", place
        )
    spelt = entry.spelt if entry is not None and entry.path == path else name
    return Problem(code, spelt, f" = {show(value)}: {words}", place)


def _path_of(location: Sequence[str | int]) -> Path:
    """The place in the recipe; pydantic puts the kind of a union between `method` and the field."""
    parts = tuple(str(part) for part in location)
    if len(parts) > 1 and parts[0] == "method" and parts[1] in METHODS:
        return ("method", *parts[2:])
    return parts


def _entry_of(path: Path, entries: Mapping[Path, Entry]) -> Entry | None:
    if path == ("method",):
        return entries.get(("method", "kind"))
    while path:
        if path in entries:
            return entries[path]
        path = path[:-1]
    return None


def show(value: Any) -> str:
    """A value as YAML writes it, cut at 80 characters."""
    spelling: dict[type, Callable[[Any], str]] = {
        bool: lambda flag: "true" if flag else "false",
        type(None): lambda _: "null",
        list: lambda items: "[" + ", ".join(show(item) for item in items) + "]",
        tuple: lambda items: "[" + ", ".join(show(item) for item in items) + "]",
    }
    text = spelling.get(type(value), repr)(value)
    return text if len(text) <= 80 else text[:77] + "..."
