"""What the tests of the recipe share: a recipe written for one test, and the fault that loading it raises."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from luthier.config.compose import load_recipe
from luthier.floor.errors import LuthierError

BASE = "model_name: embedded\n"


def write_recipe(folder: Path, text: str | bytes, name: str = "mine.yaml") -> Path:
    """A recipe file; text without a model gets one, so that nothing else is missing."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def fault_of(path: Path | str, words: Sequence[str] = ()) -> LuthierError:
    """The error that a wrong recipe raises; the test fails if it raises none."""
    with pytest.raises(LuthierError) as caught:
        load_recipe(path, words)
    return caught.value
