"""Save training state so that a crash at any moment leaves a valid checkpoint, and load the newest valid one.

    checkpoints/
        step-00000100/  weights.safetensors optimizer.safetensors facts.json manifest.json
        step-00000200/
        newest -> step-00000200
        .bad-step-00000300/   quarantined: damaged, kept for a person to look at
        .tmp-*                half written or half deleted; `sweep` removes them

The order (decision 8 of the design): temporary folder, files synced, manifest of hashes, folder synced, rename, parent
synced, pointer replaced. A folder is never overwritten: a second save of a step gets a name of its own.
State is safetensors and JSON; nothing here can run code from a file.
"""

import json
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from luthier.floor.errors import CheckpointError, EnvironmentFault, UnhealthyError
from luthier.floor.files import (
    TEMPORARY_PREFIX,
    disk_faults,
    free_bytes,
    read_json,
    replace_symlink,
    sync_folder,
)
from luthier.floor.units import format_bytes
from luthier.train.manifest import DamagedCheckpoint, check_folder, write_manifest, write_synced
from luthier.train.tensor_file import read_tensors, write_tensors

NEWEST = "newest"
FACTS = "facts.json"
BAD_PREFIX = ".bad-"
FOLDER_NAME = re.compile(r"step-(\d{8,})(?:-(\d+))?")
# Room for facts, manifest and the file system's own bookkeeping, beside the tensors.
SPARE_BYTES = 256 * 1024

Tensors = Mapping[str, Mapping[str, torch.Tensor]]


@dataclass(frozen=True)
class Loaded:
    """A checkpoint as it was saved: file stem -> name -> tensor, and the facts beside them."""

    step: int
    tensors: dict[str, dict[str, torch.Tensor]]
    facts: dict[str, Any]
    path: Path
    notes: tuple[str, ...]
    """What a person should know: checkpoints that were passed over, and why."""


def save_checkpoint(root: Path, *, step: int, tensors: Tensors, facts: Mapping[str, Any]) -> Path:
    """Save the state after `step` below `root` and point `newest` to it; returns the new folder.

    Either the whole checkpoint is there afterwards or none of it. Raises UnhealthyError if a tensor is not finite, and
    EnvironmentFault if the disk refuses or the run's folder is gone; the checkpoints before stay valid in both cases.
    """
    _refuse_nonfinite(tensors, step)
    check_room(root, tensors)
    with disk_faults(root):
        root.mkdir(exist_ok=True)  # not its parents: a run that was moved away must not go on in two places
        final = _fresh_name(root, step)
        with _temporary_folder(root, final.name) as temporary:
            for stem, named in tensors.items():
                write_tensors(temporary / f"{stem}.safetensors", named)
            write_synced(temporary / FACTS, json.dumps(facts, ensure_ascii=False, allow_nan=False))
            write_manifest(temporary, step=step, names=[*(f"{stem}.safetensors" for stem in tensors), FACTS])
            sync_folder(temporary)
            os.rename(temporary, final)
        sync_folder(root)
    replace_symlink(root / NEWEST, final.name)
    return final


def load_newest(root: Path, *, identity: Mapping[str, str], device: str | torch.device = "cpu") -> Loaded:
    """Load the newest valid checkpoint below `root`; damaged ones are set aside as `.bad-...`, never deleted.

    By step and not by the pointer, which a crash may leave one save behind. `identity` is what must equal
    `facts["identity"]`: what the run trains and on what. A checkpoint that cannot be read at the moment is passed
    over and left as it is. Raises CheckpointError: ckpt-none (nothing was ever saved), ckpt-bad (none is valid; lists
    each), ckpt-mismatch; EnvironmentFault if the only ones left cannot be read.
    """
    notes = _foreign(root)
    reasons: dict[str, str] = {}
    is_unreadable = False
    for folder in reversed(list_checkpoints(root)):
        try:
            loaded = _load(folder, device=device)
        except DamagedCheckpoint as damage:
            aside = _quarantine(folder)
            reasons[aside.name] = str(damage)
            notes.append(f"{folder.name}: {damage}; set aside as {aside.name}")
        except OSError as fault:
            is_unreadable = True
            notes.append(f"{folder.name}: cannot be read now ({fault.strerror or fault}); left as it is")
        else:
            _check_identity(loaded, identity)
            _point_to(folder)
            return replace(loaded, notes=tuple(notes))
    if is_unreadable:
        raise _unreadable(root, notes)
    raise _nothing_valid(root, reasons)


def load_step(
    root: Path, step: int, *, identity: Mapping[str, str], device: str | torch.device = "cpu"
) -> Loaded:
    """Load the checkpoint of one step, for instance the best one.

    Raises CheckpointError (ckpt-bad, ckpt-mismatch) if it cannot be used, EnvironmentFault if it cannot be read now.
    """
    folders = [folder for folder in list_checkpoints(root) if step_of(folder) == step]
    reason = "it is not there"
    if folders:
        try:
            with disk_faults(folders[-1]):
                loaded = _load(folders[-1], device=device)
        except DamagedCheckpoint as damage:
            reason = str(damage)
        else:
            _check_identity(loaded, identity)
            return loaded
    raise CheckpointError(
        "ckpt-bad",
        f"the checkpoint of step {step} cannot be used: {reason}",
        where=str(root),
        fix=f"Look at what is there: ls -la {root}",
    )


def list_checkpoints(root: Path) -> list[Path]:
    """The checkpoint folders below `root`, oldest step first, valid or not. EnvironmentFault if it cannot be read."""
    found = [path for path in _entries(root) if FOLDER_NAME.fullmatch(path.name)]
    return sorted((path for path in found if path.is_dir() and not path.is_symlink()), key=_order)


def step_of(folder: Path) -> int:
    """The step in a checkpoint folder's name."""
    return _order(folder)[0]


def has_checkpoints(root: Path) -> bool:
    """Whether anything was ever saved here, quarantined ones included: if so, a run must not quietly start at 0."""
    return bool(list_checkpoints(root) or _quarantined(root))


def rotate(root: Path, *, keep: Collection[int]) -> None:
    """Delete the checkpoints of all steps but those in `keep`, by step and never by time; `newest` always stays.

    A folder is renamed before it is emptied, so that half a checkpoint never carries the name of one.
    Raises EnvironmentFault if the disk refuses; the kept ones are untouched.
    """
    folders = list_checkpoints(root)
    kept = {step_of(folder): folder for folder in folders if step_of(folder) in keep}
    kept_names = {folder.name for folder in kept.values()} | {_pointed_to(root)}
    with disk_faults(root):
        for folder in folders:
            if folder.name not in kept_names:
                doomed = root / f"{TEMPORARY_PREFIX}del-{folder.name}-{os.getpid()}"
                os.rename(folder, doomed)
                shutil.rmtree(doomed)


def discard_all(root: Path) -> None:
    """Remove every checkpoint, quarantined ones too: the person asked for the training anew.

    The folder is renamed before it is emptied, so that no part of it is resumed. Raises EnvironmentFault if the disk refuses.
    """
    doomed = root.with_name(f"{TEMPORARY_PREFIX}del-{root.name}-{os.getpid()}")
    with disk_faults(root):
        if root.exists():
            os.rename(root, doomed)
            sync_folder(root.parent)
            shutil.rmtree(doomed)


def sweep(root: Path) -> list[str]:
    """Remove what a crash left half written or half deleted; returns the names. Only while holding the run's lock.

    Raises EnvironmentFault if the disk refuses.
    """
    stale = [path for path in _entries(root) if path.name.startswith(TEMPORARY_PREFIX)]
    with disk_faults(root):
        for path in stale:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    return [path.name for path in stale]


def check_room(root: Path, tensors: Tensors) -> None:
    """Raise EnvironmentFault (env-disk) if the disk below `root` has no room for `tensors`."""
    needed_bytes = SPARE_BYTES + sum(tensor.nbytes for named in tensors.values() for tensor in named.values())
    with disk_faults(root):
        room_bytes = free_bytes(root)
    if room_bytes < needed_bytes:
        raise EnvironmentFault(
            "env-disk",
            f"a checkpoint needs {format_bytes(needed_bytes)} and {format_bytes(room_bytes)} are free",
            where=str(root),
            why="The checkpoints saved before are untouched.",
            fix=f"Make room, or keep fewer checkpoints (train.checkpoint.keep_last): df -h {root}",
        )


def _load(folder: Path, *, device: str | torch.device) -> Loaded:
    manifest = check_folder(folder)
    if manifest.step != step_of(folder):
        raise DamagedCheckpoint(f"it is the checkpoint of step {manifest.step} under another name")
    if FACTS not in manifest.files:
        raise DamagedCheckpoint(f"{FACTS} is not in its manifest")
    try:
        facts = read_json(folder / FACTS)
        tensors = {
            Path(name).stem: read_tensors(folder / name, device=device)
            for name in manifest.files
            if name.endswith(".safetensors")
        }
    except ValueError as fault:
        raise DamagedCheckpoint(f"it cannot be parsed: {fault}") from fault
    return Loaded(manifest.step, tensors, facts, folder, ())


def _refuse_nonfinite(tensors: Tensors, step: int) -> None:
    for stem, named in tensors.items():
        for name, tensor in named.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise UnhealthyError(
                    "train-nonfinite",
                    f"{name} ({stem}) is not finite after step {step}; no checkpoint was written",
                    why="A checkpoint with NaN or infinity in it could only continue a broken run.",
                    fix="Resume from the checkpoint before with a lower train.lr.",
                )


def _entries(root: Path) -> list[Path]:
    """What lies below `root`, by name; nothing if it is not there."""
    try:
        return sorted(root.iterdir())
    except FileNotFoundError:
        return []
    except OSError as fault:
        raise _unreadable(root, [f"{root}: {fault.strerror or fault}"]) from fault


def _fresh_name(root: Path, step: int) -> Path:
    taken = [_order(folder)[1] for folder in list_checkpoints(root) if step_of(folder) == step]
    return root / (f"step-{step:08d}" + (f"-{max(taken) + 1}" if taken else ""))


@contextmanager
def _temporary_folder(root: Path, name: str) -> Iterator[Path]:
    """A new folder that is gone afterwards unless it was renamed, whatever ends the block."""
    temporary = root / f"{TEMPORARY_PREFIX}{name}-{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
    finally:
        # Errors are left to `sweep`: the fault that brought us here is the one to report.
        shutil.rmtree(temporary, ignore_errors=True)


def _order(folder: Path) -> tuple[int, int]:
    match = FOLDER_NAME.fullmatch(folder.name)
    assert match, f"{folder.name} is no checkpoint folder"
    return int(match[1]), int(match[2] or 1)


def _quarantine(folder: Path) -> Path:
    aside = folder.with_name(f"{BAD_PREFIX}{folder.name}")
    number = 1
    while aside.exists():
        number += 1
        aside = folder.with_name(f"{BAD_PREFIX}{folder.name}.{number}")
    with disk_faults(folder):
        os.rename(folder, aside)
        sync_folder(folder.parent)
    return aside


def _quarantined(root: Path) -> list[Path]:
    return [path for path in _entries(root) if path.name.startswith(BAD_PREFIX) and path.is_dir()]


def _foreign(root: Path) -> list[str]:
    """A note for everything that has no business here; none of it is read or touched."""
    ours = {path.name for path in list_checkpoints(root)} | {NEWEST}
    others = [path.name for path in _entries(root) if path.name not in ours]
    return [f"{name}: not a checkpoint of ours; ignored" for name in others if not name.startswith(".")]


def _pointed_to(root: Path) -> str:
    link = root / NEWEST
    return os.readlink(link) if link.is_symlink() else ""


def _point_to(folder: Path) -> None:
    if _pointed_to(folder.parent) != folder.name:
        replace_symlink(folder.parent / NEWEST, folder.name)


def _check_identity(loaded: Loaded, identity: Mapping[str, str]) -> None:
    saved = loaded.facts.get("identity", {})
    differing = [key for key in sorted({*saved, *identity}) if saved.get(key) != identity.get(key)]
    if differing:
        raise CheckpointError(
            "ckpt-mismatch",
            f"the checkpoint of step {loaded.step} belongs to another recipe: {len(differing)} settings differ",
            where=str(loaded.path),
            problems=[
                f"{key}: saved with {saved.get(key, 'nothing')}, now {identity.get(key, 'nothing')}"
                for key in differing
            ],
            why="Going on would be neither the old run nor a new one.",
            fix="Restore these settings to resume, or start a new run: luthier train RECIPE",
        )


def _unreadable(root: Path, notes: list[str]) -> EnvironmentFault:
    return EnvironmentFault(
        "env-disk",
        "no checkpoint can be read at the moment",
        where=str(root),
        problems=notes,
        fix="Check the disk, then repeat the command; nothing was deleted.",
    )


def _nothing_valid(root: Path, reasons: Mapping[str, str]) -> CheckpointError:
    quarantined = _quarantined(root)
    if not quarantined:
        return CheckpointError(
            "ckpt-none",
            f"there is no checkpoint below {root}",
            where=str(root),
            problems=_foreign(root),
            fix="Start a new run: luthier train RECIPE",
        )
    return CheckpointError(
        "ckpt-bad",
        f"none of the {len(quarantined)} checkpoints below {root} is valid",
        where=str(root),
        problems=[f"{path.name}: {reasons.get(path.name) or _reason(path)}" for path in quarantined],
        why="Starting again at step 0 would hide the loss, so it is yours to decide.",
        fix="Restore the folder from a backup, or start a new run: luthier train RECIPE",
    )


def _reason(quarantined: Path) -> str:
    """Why a folder was set aside by an earlier start; a person may have mended it since."""
    try:
        check_folder(quarantined)
    except DamagedCheckpoint as damage:
        return str(damage)
    except OSError as fault:
        return f"cannot be read now ({fault.strerror or fault})"
    return f"set aside earlier; rename it to {quarantined.name.removeprefix(BAD_PREFIX)} if you mended it"
