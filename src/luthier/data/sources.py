"""Find the files that a recipe's data section names, on this machine or on the Hugging Face hub, and hash them."""

import re
from dataclasses import dataclass
from pathlib import Path

from luthier.config.data import DataConfig, Format
from luthier.data.hub import fetch_rows
from luthier.floor.errors import EnvironmentFault
from luthier.floor.files import sha256_of
from luthier.floor.log import Listener
from luthier.text.rows import RowKind, find_files, first_row

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Sources:
    """The files to read, and what their rows hold."""

    train: tuple[Path, ...]
    validation: tuple[Path, ...]
    """Empty if validation rows are set apart from the training rows."""
    kind: RowKind
    hashes: dict[str, str]
    """SHA-256 of every file."""
    unread_columns: dict[str, int]
    """Columns of a hub dataset that no format uses, with the dataset's rows."""


def find_sources(config: DataConfig, listener: Listener) -> Sources:
    """Find, look into and hash the files. Raises DataError if something is missing or holds no rows."""
    unread: dict[str, int] = {}
    if is_hub_id(config.path):
        listener.say(f"data: reading {config.path} from the Hugging Face hub")
        fetched = fetch_rows(
            config.path, revision=config.revision, split=config.hub_split, cache=Path(config.cache_path)
        )
        train, unread = [fetched.path], fetched.unread_columns
    else:
        train = find_files(Path(config.path), config.pattern)
    validation = find_files(Path(config.validation_path), config.pattern) if config.validation_path else []
    kind = resolve_kind(train, config.format)
    hashes = {str(file): _hash(file) for file in dict.fromkeys([*train, *validation])}
    return Sources(tuple(train), tuple(validation), kind, hashes, unread)


def is_hub_id(name: str) -> bool:
    """Whether a data path means a dataset of the hub: of the form owner/name, and no such place on this machine."""
    path = Path(name)
    is_local = path.exists() or path.parent.exists() or path.suffix in (".json", ".jsonl")
    return bool(HUB_ID.fullmatch(name)) and not is_local


def resolve_kind(files: list[Path], format: Format) -> RowKind:
    """The rows' format: as set, or that of the first row."""
    return first_row(files, "auto").kind if format == "auto" else format


def _hash(file: Path) -> str:
    try:
        return sha256_of(file)
    except PermissionError as fault:
        fix = f"Make it readable: chmod u+r {file}"
        raise EnvironmentFault("env-permission", f"may not read {file}", where=str(file), fix=fix) from fault
