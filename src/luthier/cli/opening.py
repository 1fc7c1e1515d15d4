"""Open a run to train in: a new one, one that is named, or one that is resumed; and take back one that came to nothing."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.cli.choose import need_recipe, recipe_of_run, shown_path, split_words
from luthier.cli.output import tell
from luthier.floor.errors import CheckpointError, Interrupted, LuthierError, SavedAndStopped, UsageError
from luthier.floor.files import disk_faults, replace_symlink
from luthier.floor.rundir import LATEST, RUNS, RunDir, create_run, is_locked, lock_run, open_run

if TYPE_CHECKING:
    from luthier.config.compose import Resolved
    from luthier.config.recipe import Recipe

# Settings that may change between two starts of a run: they decide what is shown, kept or judged, not what is trained.
FREE = (
    "train.log.",
    "train.checkpoint.",
    "train.validation.",
    "train.threads",
    "train.compile",
    "train.cuda_graphs",
    "train.profile",
    "evaluate.",
    "merge.",
    "export.",
    "verify.",
    "publish.",
    "data.cache_path",
)
# What the machine refuses; torch says that memory ran out by a RuntimeError. faults.py makes messages of them.
MACHINE_REFUSALS = (OSError, MemoryError, RuntimeError)


@dataclass(frozen=True)
class Opened:
    """A run that this process holds, and the recipe to train with in it."""

    run: RunDir
    recipe: "Recipe"


@contextmanager
def open_training(
    words: Sequence[str] | None, *, verb: str, folder: Path | None, resume: str | None, again: bool
) -> Iterator[Opened]:
    """Hold the run that the command line means, new or old.

    A recipe is needed only for a new run; an older one brings its own.
    """
    if folder is not None and resume is not None:
        raise UsageError(
            "usage",
            f"--run {folder} and --resume {resume} both name a run",
            where="the command line",
            fix="Keep one of them.",
        )
    older = resumable_run(resume) if resume is not None else _older_run(folder)
    if older is not None:
        with _open_again(older, words, may_differ=again) as opened:
            yield opened
    else:
        with _open_new(words, verb=verb, folder=folder) as opened:
            yield opened


@contextmanager
def _open_new(words: Sequence[str] | None, *, verb: str, folder: Path | None) -> Iterator[Opened]:
    """Open a new run. If it fails before anything was trained, it is removed and `latest` points where it did."""
    from luthier.config.compose import load_recipe, write_config_used

    resolved = load_recipe(*need_recipe(words, verb=verb))
    for warning in resolved.warnings:
        tell(f"warning: {warning}")
    pointed = _latest()
    run = create_run() if folder is None else _make_folder(folder)
    try:
        with lock_run(run):
            write_config_used(resolved, run.config_used)
            yield Opened(run, resolved.recipe)
    except (SavedAndStopped, Interrupted):
        raise
    except (LuthierError, *MACHINE_REFUSALS):
        if not has_trained(run):
            _take_back(run, pointed)
        raise


@contextmanager
def _open_again(run: RunDir, words: Sequence[str] | None, *, may_differ: bool) -> Iterator[Opened]:
    """Hold an older run, whose recipe, with what the command line changes, must still train the same thing.

    Raises UsageError (run-used) naming every setting that differs, unless the run trained nothing yet or `may_differ`.
    """
    from luthier.config.compose import load_recipe, write_config_used

    name, overrides = split_words(words)
    with lock_run(run):
        written = recipe_of_run(run, None, ())
        resolved = recipe_of_run(run, None, overrides) if name is None else load_recipe(name, overrides)
        differing = changed_settings(written, resolved)
        if differing and has_trained(run) and not may_differ:
            raise _used(run, differing)
        if resolved.recipe != written.recipe:
            write_config_used(resolved, run.config_used)
        yield Opened(run, resolved.recipe)


def _older_run(folder: Path | None) -> RunDir | None:
    """The run that `--run` names, or None if it is to be made."""
    if folder is None or not (folder.exists() or (RUNS / folder).exists() or folder.is_symlink()):
        return None
    run = open_run(folder)
    if run.config_used.is_file():
        return run
    found = sorted(path.name for path in run.path.iterdir() if path.name not in (".lock", "logs"))
    if not found:
        return None
    raise UsageError(
        "run-used",
        f"the folder {run.path} holds no run, but other files: {', '.join(found[:3])}",
        where=str(run.path),
        why="A run would mix with them.",
        fix="Name a folder that is empty or not there yet.",
    )


def resumable_run(name: str) -> RunDir:
    """The run to resume. Raises CheckpointError (exit 7) if it is not finished and has nothing to go on from."""
    run = open_run(name)
    # One that a process still writes has not stopped: whoever opens it is told who has it.
    if not run.is_finished and not has_checkpoint(run) and not is_locked(run):
        raise CheckpointError(
            "ckpt-none",
            f"the run {run.name} has no checkpoint to resume from",
            where=str(run.checkpoints),
            why="It stopped before its first checkpoint.",
            fix=f"Start it again in the same folder: luthier train --run {shown_path(run)}",
        )
    return run


def has_checkpoint(run: RunDir) -> bool:
    """Whether there is a checkpoint, sound or not; loading it is what judges."""
    return any(run.checkpoints.glob("step-*"))


def has_trained(run: RunDir) -> bool:
    """Whether the run holds anything that training made."""
    return (
        run.is_finished or has_checkpoint(run) or (run.metrics.is_file() and run.metrics.stat().st_size > 0)
    )


def changed_settings(old: "Resolved", new: "Resolved") -> list[str]:
    """The settings, not free to change, that differ: `train.lr: 0.0002, now 0.001`."""
    before, after = _leaves(old), _leaves(new)
    return [
        f"{name}: {_shown(before.get(name))}, now {_shown(after.get(name))}"
        for name in sorted(before | after)
        if not name.startswith(FREE) and before.get(name) != after.get(name)
    ]


def _leaves(resolved: "Resolved") -> dict[str, Any]:
    from luthier.config.compose import resolved_tree

    leaves: dict[str, Any] = {}
    waiting: list[tuple[str, Any]] = [("", resolved_tree(resolved.recipe))]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(f"{name}.{key}" if name else key, item) for key, item in value.items()]
        else:
            leaves[name] = value
    return leaves


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value)


def _used(run: RunDir, differing: Sequence[str]) -> UsageError:
    return UsageError(
        "run-used",
        f"the run {run.name} was started with another recipe",
        where=str(run.path),
        problems=differing,
        why="Going on with it would mix two trainings.",
        fix=f"Open a new run: luthier train RECIPE; or go on as it began: luthier train --run {shown_path(run)}",
    )


def _latest() -> str | None:
    link = RUNS / LATEST
    return os.readlink(link) if link.is_symlink() else None


def _make_folder(folder: Path) -> RunDir:
    with disk_faults(folder):
        (folder / "logs").mkdir(parents=True, exist_ok=True)
    if folder.resolve().parent == RUNS.resolve():
        replace_symlink(RUNS / LATEST, folder.name)
    return RunDir(folder)


def _take_back(run: RunDir, pointed: str | None) -> None:
    """Leave nothing half-written of a run that failed before its first step."""
    with disk_faults(run.path):
        shutil.rmtree(run.path)
        if _latest() != run.path.name:
            return
        if pointed is None:
            (RUNS / LATEST).unlink()
        else:
            replace_symlink(RUNS / LATEST, pointed)
