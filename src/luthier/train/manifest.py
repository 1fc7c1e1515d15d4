"""The list of a checkpoint's files with their sizes and hashes, and whether a folder still agrees with it.

The manifest is written last, so its presence means that every file it names was written and synced before. It hashes itself
too, so one flipped bit anywhere in a checkpoint is found. Knows files only, no tensors.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from luthier.floor.files import sha256_of, sync_file

MANIFEST = "manifest.json"
FILE_NAME = r"^[a-z0-9_]+\.(safetensors|json)$"
# A manifest names a handful of files; anything larger is no manifest of ours and is not parsed.
MANIFEST_BYTES = 1 << 20


class DamagedCheckpoint(Exception):
    """A folder is not the checkpoint that its manifest describes; the text says in which way."""


class FileFacts(BaseModel):
    """What a file was when it was saved."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    size_bytes: int
    sha256: str


class Manifest(BaseModel):
    """What a checkpoint folder holds. File names are plain names: a manifest never reaches out of its folder."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal["luthier-checkpoint-1"] = "luthier-checkpoint-1"
    step: int
    files: dict[Annotated[str, Field(pattern=FILE_NAME)], FileFacts]
    own_sha256: str = ""
    """Hash of this manifest with an empty string in this place."""

    def sealed(self) -> "Manifest":
        """The manifest with its own hash in it."""
        body = self.model_copy(update={"own_sha256": ""}).model_dump_json()
        return self.model_copy(update={"own_sha256": hashlib.sha256(body.encode()).hexdigest()})


def write_manifest(folder: Path, *, step: int, names: Sequence[str]) -> None:
    """Hash the named files of `folder` and write the manifest beside them, synced. OSError passes through."""
    files = {
        name: FileFacts(size_bytes=(folder / name).stat().st_size, sha256=sha256_of(folder / name))
        for name in sorted(names)
    }
    write_synced(folder / MANIFEST, Manifest(step=step, files=files).sealed().model_dump_json())


def check_folder(folder: Path) -> Manifest:
    """The manifest of `folder`, once every file that it names has the size and the hash it had when it was saved.

    Files that it does not name are never read. Raises DamagedCheckpoint; an OSError other than a missing file passes
    through, since it may be gone at the next try.
    """
    manifest = _read_manifest(folder)
    for name, facts in manifest.files.items():
        path = folder / name
        if not path.is_file() or path.is_symlink():
            raise DamagedCheckpoint(f"{name} is missing")
        found_bytes = path.stat().st_size
        if found_bytes != facts.size_bytes:
            raise DamagedCheckpoint(f"{name} has {found_bytes} bytes instead of {facts.size_bytes}")
        if sha256_of(path) != facts.sha256:
            raise DamagedCheckpoint(f"{name} has another sha256 than when it was saved")
    return manifest


def write_synced(path: Path, text: str) -> None:
    """Write a file into a folder that nobody reads yet, and bring it to the disk. OSError passes through."""
    path.write_text(text, encoding="utf-8")
    sync_file(path)


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    try:
        if os.path.getsize(path) > MANIFEST_BYTES:
            raise DamagedCheckpoint(f"{MANIFEST} is larger than any manifest")
        manifest = Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise DamagedCheckpoint(f"{MANIFEST} is missing: the checkpoint was never finished") from None
    except ValidationError as fault:
        reason = fault.errors()[0]["msg"]
        raise DamagedCheckpoint(f"{MANIFEST} is no manifest of ours: {reason}") from fault
    if manifest.sealed() != manifest:
        raise DamagedCheckpoint(f"{MANIFEST} was changed after it was written")
    return manifest
