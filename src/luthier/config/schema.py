"""The recipe's JSON Schema, so that an editor completes and checks the YAML while it is being written.

It accepts what the door accepts: nested sections, the guide's flat keys, and a `defaults` list. Rules between settings are the door's.
"""

from functools import cache
from typing import Any

from luthier.config.dialects import GUIDE, PRECISION_FLAGS, SCHEDULES, Flat
from luthier.config.recipe import Recipe

DRAFT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]


@cache
def recipe_schema() -> Schema:
    """The schema as a JSON value, made once: callers read it."""
    schema: Schema = Recipe.model_json_schema()
    _accept_any_method(schema)
    flat = {name: _flat_property(name, key, schema) for name, key in GUIDE.items()}
    defaults = {"type": "array", "description": "Recipes and groups to start from, as Hydra reads them."}
    schema["properties"] = {"defaults": defaults} | schema["properties"] | flat
    return {"$schema": DRAFT} | schema


def _accept_any_method(schema: Schema) -> None:
    """`kind` may be left out, so a method is any of the kinds, not exactly one."""
    method = schema["properties"]["method"]
    method["anyOf"] = method.pop("oneOf")
    del method["discriminator"]


def _flat_property(name: str, key: Flat, schema: Schema) -> Schema:
    about = f"{key.help} The same as {key.place}."
    if name in PRECISION_FLAGS:
        return {"type": "boolean", "description": about}
    if name == "lr_scheduler_type":
        return {"enum": list(SCHEDULES), "description": about}
    return property_of(key.path, schema) | {"description": about}


def property_of(path: tuple[str, ...], schema: Schema) -> Schema:
    """The schema of one setting; of a method's setting, that of the first kind that has it."""
    nodes = [schema]
    for part in path:
        nodes = [node["properties"][part] for node in nodes if part in node.get("properties", {})]
        nodes = [target for node in nodes for target in _follow(node, schema)]
    return nodes[0]


def _follow(node: Schema, schema: Schema) -> list[Schema]:
    """The sections that a reference or a union leads to; a leaf leads to itself."""
    if "$ref" in node:
        return [schema["$defs"][node["$ref"].rpartition("/")[2]]]
    union: list[Schema] = node.get("anyOf") or node.get("oneOf") or []
    references = [inner for inner in union if "$ref" in inner]
    return [target for inner in references for target in _follow(inner, schema)] or [node]
