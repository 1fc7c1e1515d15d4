"""Sources and columns in the recipe: what is wrong with an item is told by its number and name."""

from pathlib import Path

import pytest

from luthier.config.compose import load_recipe, read_config_used, write_config_used
from luthier.config.data import ColumnsConfig, SourceConfig
from luthier.floor.errors import RecipeError
from tests.config.recipes import BASE, write_recipe

BAD = {
    "data.sources=[{path: a, weihgt: 3}]": "data.sources[0].weihgt = 3: is not a setting of an item; did you mean weight?",
    "data.sources=[{path: a},{weight: 2}]": "data.sources[1].path = {'weight': 2}: is missing",
    "data.sources=[{path: a, weight: 0}]": "data.sources[0].weight = 0: must be greater than 0",
    "data.sources=[{path: a, weight: 2000}]": "data.sources[0].weight = 2000: must be at most 1000",
    "data.sources=[{path: a, file_format: cvs}]": "did you mean csv?",
    "data.sources=[{path: 'https://x/y'}]": "must be a path or a hub id, not an address",
    "data.sources=[a.jsonl]": "must be a section with settings of its own",
    "data.columns.prompt=q": "prompt and completion go together: name the columns of both",
    "data.columns={text: a, messages: b}": "are three kinds of row: name the columns of one",
    "data.columns.promt=q": "data.columns.promt is not a setting; did you mean data.columns.prompt?",
    "data.file_format=xls": "must be one of: auto, jsonl, json, csv",
}


@pytest.mark.parametrize("word", BAD)
def test_what_is_wrong_with_a_source_is_told(tmp_path: Path, word: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(write_recipe(tmp_path, BASE), [word])
    assert BAD[word] in caught.value.render()


def test_sources_come_back_from_what_a_run_was_made_with(tmp_path: Path) -> None:
    words = [
        "data.sources=[{path: a.csv, weight: 2, columns: {prompt: [a, b], completion: c}},{path: b, pattern: '*.md'}]"
    ]
    resolved = load_recipe(write_recipe(tmp_path, BASE), words)
    first, second = resolved.recipe.data.sources
    assert first == SourceConfig(
        path="a.csv", weight=2, columns=ColumnsConfig(prompt=("a", "b"), completion=("c",))
    )
    assert (second.pattern, second.weight) == ("*.md", 1)
    write_config_used(resolved, tmp_path / "used.yaml")
    again = load_recipe(write_recipe(tmp_path, BASE), under=read_config_used(tmp_path / "used.yaml"))
    assert again.recipe == resolved.recipe
