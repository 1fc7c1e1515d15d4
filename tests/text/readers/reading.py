"""What the tests of readers share: read a file whole, and see its records and faults."""

from pathlib import Path
from typing import Any

from luthier.text.problems import LineFault, Problems
from luthier.text.readers.formats import read_records


class Noted(Problems):
    """Problems that keep every fault with its place."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[tuple[str, LineFault]] = []

    def add(self, origin: str, fault: LineFault) -> None:
        super().add(origin, fault)
        self.all.append((origin, fault))


def read(
    path: Path, file_format: str = "auto"
) -> tuple[list[tuple[str, dict[str, Any]]], list[tuple[str, str, str]]]:
    """The records, and of each fault its place behind the file's name, its word and what it says."""
    problems = Noted()
    records = list(read_records(path, problems, file_format=file_format))  # type: ignore[arg-type]
    places = [(origin.removeprefix(str(path)), fields) for origin, fields in records]
    faults = [(origin.removeprefix(str(path)), fault.code, fault.what) for origin, fault in problems.all]
    assert all(origin.startswith(str(path)) for origin, _ in problems.all), "every fault names its file"
    return places, faults


def write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path
