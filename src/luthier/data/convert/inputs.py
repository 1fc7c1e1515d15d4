"""Find what to read in the place that a person named: a file, a folder, or a zip archive of an export."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from luthier.floor.errors import DataError, EnvironmentFault
from luthier.floor.files import sha256_of
from luthier.text.json_values import CHUNK_BYTES
from luthier.text.readers.endings import holds_rows
from luthier.text.row_files import find_files
from luthier.text.zip_archive import base_name, check_member, list_members, read_member

# `conversations.json` in older exports, `conversations-000.json` and so on in newer ones.
EXPORT_NAME = re.compile(r"conversations([-_ ]?\(?\d{1,6}\)?)?\.json", re.IGNORECASE)
DATA_ENDINGS = (".json", ".jsonl", ".ndjson")
ZIP_MAGIC = b"PK"


@dataclass(frozen=True)
class Part:
    """One stream of JSON: a file, or a member of an archive. `place` is how messages name it."""

    place: str
    path: Path
    length_bytes: int
    chunks: Callable[[], Iterator[bytes]]

    @property
    def is_packed(self) -> bool:
        """Whether it is a member of an archive."""
        return self.place != as_text(self.path)


@dataclass(frozen=True)
class Inputs:
    """The streams to read, in order, and the files they come from with their SHA-256."""

    parts: list[Part]
    files: dict[str, str]
    paths: list[Path]


def as_text(path: Path) -> str:
    """A path for a report, which is UTF-8, as names of files need not be."""
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


def find_inputs(source: Path) -> Inputs:
    """What lies at `source`. Raises DataError: data-missing, data-archive, or data-dialect if nothing there can be converted."""
    try:
        is_folder = source.is_dir()
    except OSError as fault:  # a name that no file can have
        raise _unreadable(source, fault) from fault
    if is_folder:
        return _hashed(_parts_of_folder(source))
    return _hashed(_parts_of_file(find_files(source, "*", by_recipe=False)[0]))


def _hashed(parts: list[Part]) -> Inputs:
    paths = list(dict.fromkeys(part.path for part in parts))
    try:
        return Inputs(parts, {as_text(path): sha256_of(path) for path in paths}, paths)
    except OSError as fault:
        raise _unreadable(paths[0], fault) from fault


def _parts_of_folder(folder: Path) -> list[Part]:
    """An unpacked export, one zip archive, or files of records; what the folders below it hold is not looked at."""
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError as fault:
        raise _unreadable(folder, fault) from fault
    exports = [path for path in files if EXPORT_NAME.fullmatch(path.name)]
    archives = [path for path in files if path.suffix.lower() == ".zip"]
    if not exports and len(archives) > 1:
        raise DataError(
            "data-dialect",
            f"{folder} holds {len(archives)} archives; each export has every conversation, so one of them is enough",
            where=str(folder),
            problems=[str(path) for path in archives[:20]],
            fix=f"Name the one to convert: luthier data convert {archives[-1]}",
        )
    if not exports and archives:
        return _parts_of_file(archives[0])
    chosen = exports or [path for path in files if path.suffix.lower() in DATA_ENDINGS]
    chosen = chosen or [path for path in files if holds_rows(path)]
    if not chosen:
        raise DataError(
            "data-missing",
            f"there is no export and no file of rows in {folder}",
            where=str(folder),
            fix="Put a ChatGPT export there (the zip as it came, or its conversations.json), or name a file.",
        )
    return [part for path in chosen for part in _parts_of_file(find_files(path, "*", by_recipe=False)[0])]


def _parts_of_file(path: Path) -> list[Part]:
    try:
        with open(path, "rb") as file:
            head = file.read(4)
        if head[:2] == ZIP_MAGIC:
            return _parts_of_archive(path)
        return [Part(as_text(path), path, path.stat().st_size, partial(_read_file, path))]
    except OSError as fault:
        raise _unreadable(path, fault) from fault


def _parts_of_archive(path: Path) -> list[Part]:
    """The conversations of an export, or else the one JSON file that an archive holds."""
    members = list_members(path)
    chosen = [member for member in members if EXPORT_NAME.fullmatch(base_name(member))]
    if not chosen:
        chosen = [member for member in members if base_name(member).lower().endswith(DATA_ENDINGS)]
        if len(chosen) != 1:
            raise _no_export(path, [member.filename for member in members])
    chosen.sort(key=lambda member: member.filename)
    for member in chosen:
        check_member(path, member)
    return [
        Part(f"{as_text(path)}/{member.filename}", path, member.file_size, partial(read_member, path, member))
        for member in chosen
    ]


def _read_file(path: Path) -> Iterator[bytes]:
    try:
        with open(path, "rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except OSError as fault:
        raise _unreadable(path, fault) from fault


def _no_export(path: Path, names: list[str]) -> DataError:
    shown = ", ".join(repr(name[:80]) for name in names[:8]) + (" ..." if len(names) > 8 else "")
    return DataError(
        "data-dialect",
        f"{path.name} is no export: it has no conversations.json",
        where=str(path),
        why=f"It holds: {shown}" if names else "It is empty.",
        fix="Name the zip that came from ChatGPT (Settings, Data controls, Export), or unpack it and name the file to convert.",
    )


def _unreadable(path: Path, fault: OSError) -> EnvironmentFault:
    code = "env-permission" if isinstance(fault, PermissionError) else "env-disk"
    return EnvironmentFault(
        code, f"cannot read {str(path)[:500]}: {fault.strerror or fault}", where=str(path)[:500]
    )
