"""The JSON Schema takes what the door takes, and the reference page is the schema's."""

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.config.dialects import GUIDE
from luthier.config.reference import reference_page
from luthier.config.schema import recipe_schema

ROOT = Path(__file__).parents[2]
TYPES = {
    "string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict, "null": type(None)
}  # fmt: skip


def faults(value: Any, node: dict[str, Any], whole: dict[str, Any], at: str = "") -> list[str]:
    """What of the schema's words that ours uses `value` breaks; a small judge, written from the specification."""
    if "$ref" in node:
        return faults(value, whole["$defs"][node["$ref"].rpartition("/")[2]], whole, at)
    if "anyOf" in node:
        tried = [faults(value, option, whole, at) for option in node["anyOf"]]
        return [] if [] in tried else min(tried, key=len)
    found = []
    kind = node.get("type")
    if kind and (not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return [f"{at} is no {kind}"]
    if "enum" in node and value not in node["enum"]:
        found.append(f"{at} is none of {node['enum']}")
    if "const" in node and value != node["const"]:
        found.append(f"{at} is not {node['const']}")
    if "exclusiveMinimum" in node and not value > node["exclusiveMinimum"]:
        found.append(f"{at} is too small")
    if isinstance(value, dict):
        for key, inner in value.items():
            properties = node["properties"]
            found += (
                faults(inner, properties[key], whole, f"{at}.{key}")
                if key in properties
                else [f"{at}.{key} is unknown"]
            )
    return found


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return recipe_schema()


def test_the_schema_is_json_and_names_its_draft(schema: dict[str, Any]) -> None:
    assert json.loads(json.dumps(schema)) == schema
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_schema_accepts_the_shipped_recipes(path: Path, schema: dict[str, Any]) -> None:
    from luthier.config.yaml_file import read_yaml

    assert faults(read_yaml(path).tree, schema, schema) == []


@pytest.mark.parametrize(
    "value",
    [
        {"lrr": 1}, {"train": {"lrr": 1}}, {"lr": 0}, {"lr": "x"}, {"bf16": 1}, {"lr_scheduler_type": "cos"}, {"method": {"kind": "lora", "bits": 4}},
        {"train": 5}, {"train": {"schedule": {"kind": "cos"}}}, {"method": {"kind": "nope"}},
    ],
)  # fmt: skip
def test_the_schema_refuses_what_the_door_refuses(value: dict[str, Any], schema: dict[str, Any]) -> None:
    assert faults(value, schema, schema)


@pytest.mark.parametrize(
    "value",
    [{"method": {"rank": 8}}, {"method": {"bits": 8}}, {"defaults": ["train"]}, {"model": {"name": None}}],
)
def test_the_schema_accepts_what_may_be_left_out(value: dict[str, Any], schema: dict[str, Any]) -> None:
    assert faults(value, schema, schema) == []


def test_flat_keys_say_what_they_stand_for(schema: dict[str, Any]) -> None:
    for name, flat in GUIDE.items():
        assert flat.place in schema["properties"][name]["description"]
    assert schema["properties"]["lora_r"]["maximum"] == 8192


def test_the_reference_page_is_current() -> None:
    page = (ROOT / "docs" / "reference" / "recipe.md").read_text(encoding="utf-8")
    renew = "renew it: python -m luthier.config.reference > docs/reference/recipe.md"
    assert page == reference_page(), renew
