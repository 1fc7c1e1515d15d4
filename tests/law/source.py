"""The source as the laws read it: every file of ours with its tree."""

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("src", "tests", "bench", "scripts")
PACKAGE = "src/luthier/"


@dataclass(frozen=True)
class SourceFile:
    """One Python file."""

    name: str
    """Path from the root, with `/`."""
    text: str
    tree: ast.Module

    @property
    def lines(self) -> int:
        return len(self.text.splitlines())


@cache
def source_files() -> tuple[SourceFile, ...]:
    """Every Python file of the repository, sorted by name."""
    found = []
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            found.append(SourceFile(path.relative_to(ROOT).as_posix(), text, ast.parse(text)))
    return tuple(found)


def package_files() -> tuple[SourceFile, ...]:
    """The files of the package alone."""
    return tuple(file for file in source_files() if file.name.startswith(PACKAGE))
