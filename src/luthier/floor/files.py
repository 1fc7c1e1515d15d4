"""Write files so that a reader sees the old one or the new one, never half of one.

The order that survives a crash (RELIABILITY of the design, decision 8): write to a temporary name beside the target, sync the
file, rename, sync the folder. os.replace is atomic on one file system, so the temporary name is never elsewhere.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from luthier.floor.errors import EnvironmentFault
from luthier.floor.units import format_bytes

TEMPORARY_PREFIX = ".tmp-"


def write_text(path: Path, text: str, *, mode: int = 0o666) -> None:
    """Replace `path` by `text` in one step that survives a crash; it is never readable by more than `mode` and the umask allow.

    Raises EnvironmentFault if the disk is full or the place may not be written.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{path.name}-{os.getpid()}")
    with disk_faults(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # A name of a process that died may still be there, with another mode.
            temporary.unlink(missing_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as JSON; NaN and infinity are refused, since no other reader takes them."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The JSON value in `path`."""
    return json.loads(path.read_text(encoding="utf-8"))


def sync_file(path: Path) -> None:
    """Bring what is written of `path` to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Bring the names in a folder to the disk; a rename is durable only after this."""
    sync_file(path)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def replace_symlink(link: Path, target: str) -> None:
    """Point `link` to `target` in one step; a reader never finds it missing."""
    temporary = link.with_name(f"{TEMPORARY_PREFIX}{link.name}-{os.getpid()}")
    with disk_faults(link):
        temporary.unlink(missing_ok=True)
        try:
            temporary.symlink_to(target)
            os.replace(temporary, link)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(link.parent)


def publish_folder(temporary: Path, final: Path) -> None:
    """Sync every file of a finished temporary folder and give it its final name.

    A folder that has the name is renamed first and emptied last, so that half of it never carries the name.
    """
    old = final.with_name(f"{TEMPORARY_PREFIX}{final.name}-old-{os.getpid()}")
    with disk_faults(final):
        for path in sorted(temporary.rglob("*")):
            sync_file(path)
        sync_folder(temporary)
        shutil.rmtree(old, ignore_errors=True)
        if final.exists():
            os.rename(final, old)
        try:
            os.rename(temporary, final)
        except OSError:
            if old.exists():
                os.rename(old, final)
            raise
        sync_folder(final.parent)
        if old.exists():
            shutil.rmtree(old)


@contextlib.contextmanager
def disk_faults(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write below `path` into EnvironmentFault."""
    try:
        yield
    except OSError as fault:
        raise disk_fault(path, fault) from fault


def disk_fault(path: Path, fault: OSError) -> EnvironmentFault:
    """The error that says what the disk refused, where, and what to do: about permission, a lost folder, handles or room."""
    code, why, fix = "env-disk", "What was saved before is untouched.", "Make room, then repeat the command."
    if fault.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        code, why = "env-permission", ""
        fix = f"Make the folder writable, or choose another one: ls -ld {path.parent}"
    elif fault.errno in (errno.ENOENT, errno.ENOTDIR, errno.EEXIST):
        why = "A folder on the way there was moved, deleted or replaced; nothing is written to another place."
        fix = f"Put it back, then repeat the command: ls -ld {path.parent}"
    elif fault.errno in (errno.EMFILE, errno.ENFILE):
        fix = "Let the process open more files, then repeat the command: ulimit -n 4096"
    else:
        why = f"{free_room(path)} are free there; what was saved before is untouched."
    return EnvironmentFault(
        code, f"cannot write {path.name}: {fault.strerror or fault}", where=str(path), why=why, fix=fix
    )


def free_bytes(path: Path) -> int:
    """Free bytes on the file system of `path` or of its nearest folder that exists."""
    nearest = next(place for place in (path, *path.parents) if place.exists())
    return shutil.disk_usage(nearest).free


def free_room(path: Path) -> str:
    """Free room for people, or `an unknown number of bytes`."""
    try:
        return format_bytes(free_bytes(path))
    except OSError:
        return "an unknown number of bytes"
