"""One file, one idea; a function fits a screen. A ratchet: nothing is over the limits today, so nothing may grow over them."""

import ast

from tests.law.source import package_files, source_files

MOST_FILE_LINES = 400
MOST_TEST_FILE_LINES = 500
MOST_FUNCTION_LINES = 60
AIM_FUNCTION_LINES = 50
# Functions between aim and limit, counted so that their number can only fall.
FUNCTIONS_OVER_AIM = 0


def most_lines(name: str) -> int:
    return MOST_TEST_FILE_LINES if name.startswith("tests/") else MOST_FILE_LINES


def function_lengths() -> dict[str, int]:
    return {
        f"{file.name}:{node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for file in package_files()
        for node in ast.walk(file.tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }


def test_no_file_is_longer_than_two_ideas() -> None:
    files = source_files()
    assert len(files) > 150, "the law looked at the repository"
    over = {file.name: file.lines for file in files if file.lines > most_lines(file.name)}
    assert over == {}


def test_no_function_is_longer_than_a_screen() -> None:
    lengths = function_lengths()
    assert len(lengths) > 500, "the law looked at the package"
    assert {name: lines for name, lines in lengths.items() if lines > MOST_FUNCTION_LINES} == {}


def test_the_number_of_long_functions_only_falls() -> None:
    over = [name for name, lines in function_lengths().items() if lines > AIM_FUNCTION_LINES]
    assert len(over) <= FUNCTIONS_OVER_AIM, over
