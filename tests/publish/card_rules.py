"""What the hub asks of a model card's metadata, as its documentation says (hub-docs: modelcard.md, model-cards.md, licences)."""

import re
from typing import Any

import yaml

# docs/hub/repositories-licenses.md, and the names of Llama's licences that came after it.
LICENCES = frozenset(
    [
        "apache-2.0",
        "mit",
        "openrail",
        "bigscience-openrail-m",
        "creativeml-openrail-m",
        "bigscience-bloom-rail-1.0",
        "bigcode-openrail-m",
        "afl-3.0",
        "artistic-2.0",
        "bsl-1.0",
        "bsd",
        "bsd-2-clause",
        "bsd-3-clause",
        "bsd-3-clause-clear",
        "c-uda",
        "cc",
        "cc0-1.0",
        "cc-by-2.0",
        "cc-by-2.5",
        "cc-by-3.0",
        "cc-by-4.0",
        "cc-by-sa-3.0",
        "cc-by-sa-4.0",
        "cc-by-nc-2.0",
        "cc-by-nc-3.0",
        "cc-by-nc-4.0",
        "cc-by-nd-4.0",
        "cc-by-nc-nd-3.0",
        "cc-by-nc-nd-4.0",
        "cc-by-nc-sa-2.0",
        "cc-by-nc-sa-3.0",
        "cc-by-nc-sa-4.0",
        "cdla-sharing-1.0",
        "cdla-permissive-1.0",
        "cdla-permissive-2.0",
        "wtfpl",
        "ecl-2.0",
        "epl-1.0",
        "epl-2.0",
        "etalab-2.0",
        "eupl-1.1",
        "agpl-3.0",
        "gfdl",
        "gpl",
        "gpl-2.0",
        "gpl-3.0",
        "lgpl",
        "lgpl-2.1",
        "lgpl-3.0",
        "isc",
        "lppl-1.3c",
        "ms-pl",
        "mpl-2.0",
        "odc-by",
        "odbl",
        "openrail++",
        "osl-3.0",
        "postgresql",
        "ofl-1.1",
        "ncsa",
        "unlicense",
        "zlib",
        "pddl",
        "lgpl-lr",
        "deepfloyd-if-license",
        "llama2",
        "llama3",
        "llama3.1",
        "llama3.2",
        "llama3.3",
        "llama4",
        "gemma",
        "unknown",
        "other",
    ]
)
RELATIONS = ("adapter", "merge", "quantized", "finetune")
HUB_ID = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")
LANGUAGE = re.compile(r"[a-z]{2,3}|code|multilingual")


def read_metadata(card: str) -> dict[str, Any]:
    """The block at the top of a card."""
    match = re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)
    assert match, "a card begins with a block of metadata"
    value = yaml.safe_load(match[1])
    assert isinstance(value, dict)
    return value


def faults_of_card(card: str) -> list[str]:
    """Everything that the hub would not take."""
    try:
        data = read_metadata(card)
    except (AssertionError, yaml.YAMLError) as fault:
        return [f"no metadata: {fault}"]
    found = (
        []
        if data.get("license") in LICENCES
        else [f'"license" must be one of the list, not {data.get("license")}']
    )
    if data.get("license") == "other" and not (data.get("license_name") and data.get("license_link")):
        found.append('"license_name" and "license_link" go with license: other')
    for key in ("base_model", "datasets"):
        names = data.get(key, [])
        names = [names] if isinstance(names, str) else names
        found += [f'"{key}" {name} is no id of the hub' for name in names if not HUB_ID.fullmatch(str(name))]
    if data.get("base_model_relation", "adapter") not in RELATIONS:
        found.append('"base_model_relation" is not one of the list')
    found += [
        f'"language" {each} is no code'
        for each in data.get("language", [])
        if not LANGUAGE.fullmatch(str(each))
    ]
    found += [f'"tags" {each!r} is no text' for each in data.get("tags", []) if not isinstance(each, str)]
    return [*found, *_faults_of_results(data.get("model-index", []))]


def _faults_of_results(index: Any) -> list[str]:
    found = []
    for model in index:
        if not model.get("name"):
            found.append('"model-index[].name" is missing')
        for result in model.get("results", []):
            if not result.get("task", {}).get("type"):
                found.append('"task.type" is missing')
            if not (result.get("dataset", {}).get("type") and result["dataset"].get("name")):
                found.append('"dataset.type" or "dataset.name" is missing')
            found += [
                f'"metrics" {metric} lacks its type or value'
                for metric in result.get("metrics", [])
                if not metric.get("type") or not isinstance(metric.get("value"), int | float)
            ]
    return found
