"""Bring a dataset of the Hugging Face hub to this machine as one JSONL file, so that all rows are read by one code.

The `datasets` library does the fetching and keeps its own cache; nothing that a dataset brings along is run.
"""

import importlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from luthier.floor.errors import DataError, EnvironmentFault
from luthier.floor.files import TEMPORARY_PREFIX, disk_faults, sync_folder
from luthier.text.shapes import SHAPES

ROWS_AT_ONCE = 1000
COMMIT = re.compile(r"[0-9a-f]{40}")
USED_COLUMNS = tuple(dict.fromkeys(name for shape in SHAPES for name in sorted(shape.fields)))


@dataclass(frozen=True)
class FetchedRows:
    """A dataset as a file."""

    path: Path
    unread_columns: dict[str, int]
    """Columns that no format uses, with the dataset's number of rows."""


def fetch_rows(
    name: str, *, revision: str | None, split: str, cache: Path, columns: Sequence[str] | None = None
) -> FetchedRows:
    """Write the rows of a hub dataset below `cache`: the columns that are named, or those that a format may use.

    Raises DataError (data-hub) with the library's reason, EnvironmentFault (env-extra) if `datasets` is not installed.
    """
    datasets = _import_datasets()
    try:
        commit = find_commit(name, revision)
        dataset = datasets.load_dataset(name, revision=commit, split=split)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as fault:
        raise _unreadable(name, split, str(fault).strip() or type(fault).__name__) from fault
    # The library falls back to whatever version it read last when it cannot reach the one that was asked for.
    if commit is not None and not all(commit in file["filename"] for file in dataset.cache_files):
        raise _unreadable(
            name, split, f"revision {revision} is not there, only another one that was read before"
        )
    wanted = USED_COLUMNS if columns is None else columns
    used = [column for column in dataset.column_names if column in wanted]
    if not used:
        raise DataError(
            "data-field",
            f"the dataset has none of the columns {', '.join(wanted)}; it has: {', '.join(dataset.column_names)}",
            where=f"{name} ({split})",
            fix="Name the columns that make a row: data.columns.prompt=... data.columns.completion=...",
        )
    path = (
        cache / "hub" / name.replace("/", "--") / (revision or "newest").replace("/", "--") / f"{split}.jsonl"
    )
    _write(dataset.select_columns(used), path)
    unread = {column: len(dataset) for column in dataset.column_names if column not in used}
    return FetchedRows(path, unread)


def find_commit(name: str, revision: str | None) -> str | None:
    """The commit that a branch, tag or commit of a dataset stands for; None where none was asked for.

    Raises OSError or ValueError, as the hub's library does, if there is no such revision or it cannot be looked up.
    """
    if revision is None or COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import snapshot_download

    # Fetches no file: the folder it would fill is named after the commit.
    return Path(snapshot_download(name, repo_type="dataset", revision=revision, allow_patterns=[])).name


def _write(dataset: Any, path: Path) -> None:
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{path.name}-{os.getpid()}")
    with disk_faults(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "w", encoding="utf-8") as file:
                for batch in dataset.iter(batch_size=ROWS_AT_ONCE):
                    for values in zip(*batch.values(), strict=True):
                        row = dict(zip(batch, values, strict=True))
                        # The library writes null into messages that lack a field others have.
                        file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)


def _import_datasets() -> ModuleType:
    try:
        return importlib.import_module("datasets")
    except ImportError as fault:
        raise EnvironmentFault(
            "env-extra",
            "reading from the Hugging Face hub needs the library datasets",
            fix='Install it: pip install "luthier[datasets]"',
        ) from fault


def _unreadable(name: str, split: str, reason: str) -> DataError:
    return DataError(
        "data-hub",
        f"the dataset {name} could not be read: {' '.join(reason.split())[:300]}",
        where=f"{name} ({split})",
        fix="Look at the name, data.hub_split and data.revision, and at the network; or download it and set data.path.",
    )
