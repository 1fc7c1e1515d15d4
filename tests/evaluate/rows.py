"""Held-out rows and recipes for the tests of evaluation."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from luthier.config.recipe import Recipe

PAIRS = (
    ("What is the capital of France?", "The capital of France is Paris."),
    ("The Mill near the river", "name[The Mill], area[riverside]"),
    ("cheap Italian food", "food[Italian], price[cheap]"),
    ("Größe?", "Ein Maß für das Ganze: 7 µm"),
)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Rows as JSONL."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def pairs(texts: Sequence[tuple[str, str]] = PAIRS) -> list[dict[str, str]]:
    """Prompt/completion rows."""
    return [{"prompt": prompt, "completion": completion} for prompt, completion in texts]


def make_recipe(base: Path, rows: Path, **evaluate: Any) -> Recipe:
    """A recipe that evaluates `rows` over `base` on the CPU."""
    return Recipe.model_validate(
        {
            "model": {"name": str(base), "device": "cpu"},
            "evaluate": {"path": str(rows), "max_new_tokens": 8, "bootstrap_samples": 200, **evaluate},
        }
    )
