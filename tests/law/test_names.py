"""Names say what a thing does: no drawer for everything, and a public function says it in a sentence too."""

import ast
import re

from tests.law.source import ROOT, package_files, source_files

DRAWERS = re.compile(r"^(utils?|helpers?|commons?|misc|managers?|core)$")
# Functions that have no sentence yet. The list may only shrink.
STILL_SILENT = {
    "src/luthier/export/bench.py:compared_rows",
    "src/luthier/text/template_worker.py:answer",
    "src/luthier/text/template_worker.py:main",
    "src/luthier/text/template_worker.py:raise_exception",
    "src/luthier/text/template_worker.py:to_json",
}
DRAWER_IN_CLASS = re.compile(r"(Utils?|Helpers?|Misc|Manager)$")


def test_no_file_or_folder_is_a_drawer() -> None:
    names = {part for file in source_files() for part in file.name.removesuffix(".py").split("/")}
    words = {word for name in names for word in name.split("_")}
    assert len(names) > 100
    assert [word for word in sorted(words) if DRAWERS.match(word)] == []


def test_no_class_is_a_drawer() -> None:
    classes = [
        node.name for file in source_files() for node in ast.walk(file.tree) if isinstance(node, ast.ClassDef)
    ]
    assert len(classes) > 50
    assert [name for name in classes if DRAWER_IN_CLASS.search(name)] == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        file.name for file in package_files() if file.text.strip() and ast.get_docstring(file.tree) is None
    ]
    assert silent == []


def test_every_public_function_has_a_sentence() -> None:
    silent = [
        f"{file.name}:{node.name}"
        for file in package_files()
        for node in file.tree.body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        and not node.name.startswith("_")
        and ast.get_docstring(node) is None
        and not file.name.endswith("floor/errors.py")  # one class an exit code, drawn at the top of the file
    ]
    assert [name for name in silent if name not in STILL_SILENT] == []
    assert set(silent) == STILL_SILENT, "one was given its sentence: take it off the list"


def test_nothing_is_left_for_later() -> None:
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b(?! ?\(?#\d)")
    found = [
        file.name for file in source_files() if marks.search(file.text) and "test_names" not in file.name
    ]
    assert found == []


def test_requirements_names_this_project_and_nothing_else() -> None:
    assert (ROOT / "requirements.txt").read_text() == "-e .\n"
