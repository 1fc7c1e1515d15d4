"""Every fault word is raised somewhere, and every word that is raised has its sentence."""

import ast
import re

from luthier.floor.errors import FAULTS, LuthierError
from tests.law.source import package_files

# Where every word stands.
LISTS = (
    "src/luthier/floor/errors.py",
    "src/luthier/knowledge/faults.py",
    "src/luthier/knowledge/serving_faults.py",
)
WORD = re.compile(r"[a-z]+(-[a-z0-9]+)*")


def error_classes() -> list[type[LuthierError]]:
    """LuthierError's kinds, all of them."""
    found: list[type[LuthierError]] = []
    waiting = [LuthierError]
    while waiting:
        kinds = waiting.pop().__subclasses__()
        found += kinds
        waiting += kinds
    return [kind for kind in found if kind.__module__ == LuthierError.__module__]


def test_every_word_is_used() -> None:
    texts = {
        node.value
        for file in package_files()
        if file.name not in LISTS
        for node in ast.walk(file.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert len(FAULTS) > 50
    assert sorted(word for word in FAULTS if word not in texts) == []


def test_every_raised_word_is_in_the_registry() -> None:
    names = {kind.__name__ for kind in error_classes()}
    raised = [
        (file.name, node.args[0].value)
        for file in package_files()
        for node in ast.walk(file.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in names
        and node.args
        and isinstance(node.args[0], ast.Constant)
    ]
    assert len(raised) > 50
    assert [(name, word) for name, word in raised if word not in FAULTS] == []


def test_every_word_has_a_sentence() -> None:
    assert [word for word in FAULTS if not WORD.fullmatch(word)] == []
    assert [word for word, text in FAULTS.items() if not text.endswith(".") or not text[0].isupper()] == []


def test_the_exit_codes_are_those_of_the_design() -> None:
    assert {kind.__name__: kind.exit_code for kind in error_classes()} == {
        "GateError": 1,
        "UsageError": 2,
        "RecipeError": 2,
        "DataError": 3,
        "ModelError": 4,
        "EnvironmentFault": 5,
        "UnhealthyError": 6,
        "CheckpointError": 7,
        "SavedAndStopped": 75,
        "Interrupted": 130,
    }
