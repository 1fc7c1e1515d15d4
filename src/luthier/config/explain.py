"""Tell people about a recipe: every value with the place it came from, and what a setting means."""

from typing import Any

from luthier.config.compose import DEFAULT, Resolved, leaf_names
from luthier.config.dialects import GUIDE, PRECISION_FLAGS, SCHEDULES
from luthier.config.fields import Setting, settings
from luthier.config.problems import show
from luthier.config.schema import Schema, property_of, recipe_schema

_WIDEST_VALUE = 48


def render_recipe(resolved: Resolved, *, changed_only: bool = False) -> str:
    """The resolved recipe as a table: setting, value, where it came from; without the defaults if `changed_only`."""
    values = _leaves(resolved, changed_only=changed_only)
    rows = [(name, show_plain(value), resolved.origins[name]) for name, value in values.items()]
    if not rows:
        return f"{resolved.source}: every value is the default"
    name_width = max(len(name) for name, _, _ in rows)
    value_width = min(_WIDEST_VALUE, max(len(value) for _, value, _ in rows))
    lines = [f"{name:<{name_width}}  {value:<{value_width}}  {origin}" for name, value, origin in rows]
    return "\n".join([f"{resolved.source}", *lines])


def recipe_as_json(resolved: Resolved, *, changed_only: bool = False) -> dict[str, Any]:
    """The same facts for `--json`."""
    values = _leaves(resolved, changed_only=changed_only)
    return {
        "recipe": resolved.source,
        "values": {
            name: {"value": value, "origin": resolved.origins[name]} for name, value in values.items()
        },
        "warnings": list(resolved.warnings),
    }


def _leaves(resolved: Resolved, *, changed_only: bool) -> dict[str, Any]:
    tree = resolved.recipe.model_dump(mode="json")
    return {
        name: _at(tree, name)
        for name in leaf_names(tree)
        if not (changed_only and resolved.origins[name] == DEFAULT)
    }


def _at(tree: Any, name: str) -> Any:
    for part in name.split("."):
        tree = tree[part]
    return tree


def show_plain(value: Any) -> str:
    """A value as a recipe would hold it, text without quotes."""
    if isinstance(value, list):
        return "[" + ", ".join(show_plain(item) for item in value) + "]"
    return value if isinstance(value, str) else show(value)


def explain_setting(name: str) -> str | None:
    """What a setting means, what it takes and its default, under its own name or a flat one; None if there is none."""
    flat = GUIDE.get(name)
    setting = settings().get(flat.place if flat is not None else name)
    if setting is None:
        return None
    schema = recipe_schema()
    spellings = [key for key, known in GUIDE.items() if known.place == setting.name]
    lines = [setting.name, f"  {setting.help}", f"  takes    {takes(setting, schema)}"]
    lines.append(f"  default  {default_of(setting)}")
    if setting.kinds and len(setting.kinds) < 4:
        lines.append(f"  only if  method.kind is {' or '.join(setting.kinds)}")
    if spellings:
        lines.append(f"  also     {', '.join(spellings)}")
    if name in PRECISION_FLAGS or name == "lr_scheduler_type":
        lines.append(f"  {name}: {_flat_values(name)}")
    return "\n".join(lines)


def _flat_values(name: str) -> str:
    if name in PRECISION_FLAGS:
        return "true or false; both true is an error, both false means fp32"
    return ", ".join(SCHEDULES)


def default_of(setting: Setting) -> str:
    """A setting's default, as a recipe would hold it."""
    return show_plain(setting.default())


def takes(setting: Setting, schema: Schema) -> str:
    """The values that a setting takes, in words: `one of: ...`, `a whole number of at least 1`, ..."""
    if setting.name == "method.kind":
        return "one of: lora, qlora, full, scratch"
    return _words_of(property_of(setting.path, schema))


def _words_of(node: Schema) -> str:
    if "$ref" in node:
        return "a section"
    if "anyOf" in node:
        return " or ".join(_words_of(inner) for inner in node["anyOf"])
    if "const" in node:
        return show_plain(node["const"])
    if "enum" in node:
        return f"one of: {', '.join(show_plain(choice) for choice in node['enum'])}"
    kind: str = node["type"]
    if kind == "array":
        return f"a list; each {_words_of(node['items'])}"
    names = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "string": "text"}
    return {"null": "null"}.get(kind, names.get(kind, kind)) + _bounds_of(node)


def _bounds_of(node: Schema) -> str:
    words = {
        "exclusiveMinimum": "greater than",
        "minimum": "at least",
        "exclusiveMaximum": "less than",
        "maximum": "at most",
    }
    # 2**40 bounds every count against absurd values; it says nothing about the setting
    bounds = [f"{word} {node[key]:g}" for key, word in words.items() if key in node and node[key] < 2**40]
    return f", {' and '.join(bounds)}" if bounds else ""
