"""The list of a checkpoint's files with their sizes and hashes, and whether a folder still agrees with it.

The manifest is written last, so its presence means that every file it names was written and synced before. It hashes itself
too, so one flipped bit anywhere in a checkpoint is found. Knows files only, no tensors.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.floor.files import sha256_of, sync_file

MANIFEST = "manifest.json"
FORMAT = "luthier-checkpoint-1"
FILE_NAME = re.compile(r"[a-z0-9_]+\.(safetensors|json)")
# A manifest names a handful of files; anything larger is no manifest of ours and is not parsed.
MANIFEST_BYTES = 1 << 20


class DamagedCheckpoint(Exception):
    """A folder is not the checkpoint that its manifest describes; the text says in which way."""


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint folder holds: file name -> (bytes, sha256)."""

    step: int
    files: Mapping[str, tuple[int, str]]


def write_manifest(folder: Path, *, step: int, names: Sequence[str]) -> None:
    """Hash the named files of `folder` and write the manifest beside them, synced. OSError passes through."""
    body: dict[str, Any] = {
        "format": FORMAT,
        "step": step,
        "files": {
            name: {"bytes": (folder / name).stat().st_size, "sha256": sha256_of(folder / name)}
            for name in sorted(names)
        },
    }
    body["sha256"] = _own_hash(body)
    write_synced(folder / MANIFEST, body)


def check_folder(folder: Path) -> Manifest:
    """The manifest of `folder`, once every file that it names has the size and the hash it had when it was saved.

    Files that it does not name are never read. Raises DamagedCheckpoint; an OSError other than a missing file passes
    through, since it may be gone at the next try.
    """
    manifest = _read_manifest(folder)
    for name, (size_bytes, sha256) in manifest.files.items():
        path = folder / name
        if not path.is_file() or path.is_symlink():
            raise DamagedCheckpoint(f"{name} is missing")
        found_bytes = path.stat().st_size
        if found_bytes != size_bytes:
            raise DamagedCheckpoint(f"{name} has {found_bytes} bytes instead of {size_bytes}")
        if sha256_of(path) != sha256:
            raise DamagedCheckpoint(f"{name} has another sha256 than when it was saved")
    return manifest


def write_synced(path: Path, value: Any) -> None:
    """Write `value` as JSON into a folder that nobody reads yet, and bring it to the disk. OSError passes through."""
    path.write_text(json.dumps(value, ensure_ascii=False, allow_nan=False), encoding="utf-8")
    sync_file(path)


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    try:
        if os.path.getsize(path) > MANIFEST_BYTES:
            raise DamagedCheckpoint(f"{MANIFEST} is larger than any manifest")
        body = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DamagedCheckpoint(f"{MANIFEST} is missing: the checkpoint was never finished") from None
    except (ValueError, RecursionError):
        raise DamagedCheckpoint(f"{MANIFEST} is not readable JSON") from None
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise DamagedCheckpoint(f"{MANIFEST} is not of the format {FORMAT}")
    if body.pop("sha256", None) != _own_hash(body):
        raise DamagedCheckpoint(f"{MANIFEST} was changed after it was written")
    if any(not FILE_NAME.fullmatch(name) for name in body["files"]):
        raise DamagedCheckpoint(f"{MANIFEST} names a file outside its folder")
    return Manifest(
        body["step"], {name: (entry["bytes"], entry["sha256"]) for name, entry in body["files"].items()}
    )


def _own_hash(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
