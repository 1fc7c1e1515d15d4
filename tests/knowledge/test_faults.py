"""Every fault word is explained, and ends the program as its class says."""

import ast
from pathlib import Path

import luthier
from luthier.floor import errors
from luthier.floor.errors import FAULTS, LuthierError
from luthier.knowledge.faults import ADVICE, exit_code_of, explain_fault

SOURCE = Path(luthier.__file__).parent


def raised() -> dict[str, set[int]]:
    """The exit codes with which each word is raised, read from the source."""
    found: dict[str, set[int]] = {}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                kind, word = getattr(errors, node.func.id, None), node.args[0]
                if (
                    isinstance(kind, type)
                    and issubclass(kind, LuthierError)
                    and isinstance(word, ast.Constant)
                ):
                    found.setdefault(word.value, set()).add(kind.exit_code)
    return found


def test_every_fault_word_has_an_example_and_a_remedy() -> None:
    assert set(ADVICE) == set(FAULTS)
    assert [
        word
        for word, advice in ADVICE.items()
        if not advice.example.endswith(".") or not advice.remedy.endswith(".")
    ] == []


def test_a_word_tells_the_exit_code() -> None:
    found = raised()
    assert len(found) > 20
    wrong = {word: codes for word, codes in found.items() if codes != {exit_code_of(word)}}
    assert wrong == {}


def test_an_explanation_says_meaning_example_remedy_and_exit_code() -> None:
    text = explain_fault("data-json")
    assert FAULTS["data-json"] in text
    assert "for example" in text
    assert "python -m json.tool" in text
    assert "exit code    3" in text
