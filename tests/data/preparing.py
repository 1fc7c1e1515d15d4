"""Recipes and rows for the tests of the data stage."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luthier.config.recipe import Recipe
from luthier.floor.rundir import RunDir
from luthier.reports.data import DataReport
from luthier.tokens.store import TokenStore


def make_run(folder: Path, name: str = "run") -> RunDir:
    """An empty run folder."""
    path = folder / name
    path.mkdir(parents=True, exist_ok=True)
    return RunDir(path)


def write_rows(path: Path, rows: Sequence[object]) -> Path:
    """A JSONL file; a row that is text already is written as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def pairs(count: int) -> list[dict[str, str]]:
    """Different prompt/completion rows."""
    return [{"prompt": f"What is number {n}?", "completion": f"It is {n}."} for n in range(count)]


def make_recipe(base: Path, folder: Path, **data: Any) -> Recipe:
    """A LoRA recipe whose cache lies in `folder`; `data` are settings of the data section."""
    settings = {"path": str(folder / "data"), "cache_path": str(folder / "cache"), **data}
    return Recipe.model_validate({"model": {"name": str(base)}, "data": settings})


def store_of(report: DataReport, split: str = "train") -> TokenStore:
    """The tokens that a report speaks of."""
    return TokenStore.open(Path(report.store) / split)


def assert_nothing_is_left(folder: Path) -> None:
    """A failed preparation keeps no file but its lock."""
    cache = folder / "cache"
    left = (
        [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]
        if cache.exists()
        else []
    )
    assert left == []
    assert not (folder / "run" / "data").exists()
