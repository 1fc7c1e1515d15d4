"""What the package never does: unpickle, run code from files, open a shell, swallow every error, or print from a stage."""

import ast
from collections.abc import Iterator

from tests.law.source import SourceFile, package_files

PICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
CALLS = {"eval", "exec", "compile", "__import__", "print", "input"}
ATTRIBUTE_CALLS = {
    ("torch", "load"),
    ("torch", "save"),
    ("os", "system"),
    ("os", "popen"),
    ("yaml", "load"),
    ("yaml", "unsafe_load"),
    ("yaml", "full_load"),
    ("hydra.utils", "instantiate"),
}
ARGUMENTS = {"allow_pickle", "trust_remote_code", "shell", "weights_only"}
# The one place where every fault becomes a message and an exit code.
# The door, where it becomes a message; and the process that reads strangers' documents with strangers' parsers.
MAY_CATCH_EVERYTHING = {"src/luthier/cli/app.py": 1, "src/luthier/text/readers/document_worker.py": 2}


def places(file: SourceFile) -> Iterator[tuple[str, ast.AST]]:
    for node in ast.walk(file.tree):
        yield f"{file.name}:{getattr(node, 'lineno', 0)}", node


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def test_nothing_is_pickled_or_unpickled() -> None:
    found = [
        place
        for file in package_files()
        for place, node in places(file)
        if any(name.partition(".")[0] in PICKLES for name in imported(node))
    ]
    assert found == []


def test_no_call_runs_text_as_code_or_prints() -> None:
    found = [
        f"{place} {node.func.id}"
        for file in package_files()
        for place, node in places(file)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS
    ]
    assert found == []


def test_no_call_loads_state_that_is_code() -> None:
    wanted = {f"{module}.{name}" for module, name in ATTRIBUTE_CALLS}
    found = [
        place
        for file in package_files()
        for place, node in places(file)
        if (isinstance(node, ast.Call) and dotted(node.func) in wanted) or wanted & set(imported(node))
    ]
    assert found == []


def test_no_call_asks_a_library_to_trust_a_file() -> None:
    found = [
        f"{place} {keyword.arg}"
        for file in package_files()
        for place, node in places(file)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg in ARGUMENTS
        and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
    ]
    assert found == []


def test_only_the_door_catches_everything() -> None:
    caught: dict[str, int] = {}
    for file in package_files():
        for _, node in places(file):
            if isinstance(node, ast.ExceptHandler) and (
                node.type is None or dotted(node.type) in ("Exception", "BaseException")
            ):
                caught[file.name] = caught.get(file.name, 0) + 1
    assert caught == MAY_CATCH_EVERYTHING


def test_importing_a_module_sets_no_environment() -> None:
    found = [
        f"{file.name}:{node.lineno}"
        for file in package_files()
        for node in file.tree.body
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) and "os.environ" in ast.unparse(node)
    ]
    assert found == []


def test_the_law_sees_what_it_forbids() -> None:
    bad = SourceFile(
        "bad.py", "", ast.parse("import pickle\ntorch.load(x)\ntry:\n    f()\nexcept Exception:\n    pass")
    )
    nodes = [node for _, node in places(bad)]
    assert any(imported(node) == ["pickle"] for node in nodes)
    assert any(isinstance(node, ast.Call) and dotted(node.func) == "torch.load" for node in nodes)
    assert any(
        isinstance(node, ast.ExceptHandler) and dotted(node.type or ast.Name("")) == "Exception"
        for node in nodes
    )
