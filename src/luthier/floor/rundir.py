"""A run's folder: what lies where, who may write to it, and which run is the newest.

    outputs/runs/2026-11-24_10-30-45/
        config_used.yaml   the resolved recipe
        data/ model/ logs/ metrics.jsonl checkpoints/ train/ evaluate/ compare/ merge/
    outputs/runs/latest -> 2026-11-24_10-30-45     set when the run opens, so that TensorBoard can watch it

A run is finished when train/report.json is there: reports are written last.
"""

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from luthier.floor.errors import EnvironmentFault, UsageError
from luthier.floor.files import disk_faults, replace_symlink
from luthier.floor.lookup import nearest

RUNS = Path("outputs") / "runs"
LATEST = "latest"
NAME_FORMAT = "%Y-%m-%d_%H-%M-%S"


@dataclass(frozen=True)
class RunDir:
    """The paths of one run; it reads and writes nothing by itself."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def config_used(self) -> Path:
        return self.path / "config_used.yaml"

    @property
    def model(self) -> Path:
        """The trained adapter or model with its tokenizer."""
        return self.path / "model"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def metrics(self) -> Path:
        """One JSON object a line; every viewer reads this."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def stage(self, name: str) -> Path:
        """The folder that the stage `name` owns."""
        return self.path / name

    def report(self, stage: str) -> Path:
        """The report of a stage; if it is there, the stage is done."""
        return self.stage(stage) / "report.json"

    @property
    def is_finished(self) -> bool:
        return self.report("train").is_file()


def create_run(runs: Path = RUNS, *, now: datetime | None = None) -> RunDir:
    """Open a new timestamped run below `runs` and point `latest` to it.

    Two runs opened in the same second get different names: the later one waits for the next second.
    Raises EnvironmentFault if the folder cannot be written.
    """
    with disk_faults(runs):
        runs.mkdir(parents=True, exist_ok=True)
        while True:
            path = runs / (now or datetime.now()).strftime(NAME_FORMAT)
            try:
                path.mkdir()
                break
            except FileExistsError:
                now = None
                time.sleep(0.1)
        (path / "logs").mkdir()
    replace_symlink(runs / LATEST, path.name)
    return RunDir(path)


def open_run(name: str | Path, runs: Path = RUNS) -> RunDir:
    """The run that a person named: a path, a timestamp below `runs`, or `latest`.

    Raises UsageError with the nearest names if there is none.
    """
    for path in (Path(name), runs / name):
        if path.is_dir():
            return RunDir(path.resolve() if path.is_symlink() else path)
        if path.is_symlink():
            raise _missing(f"{path} points to {os.readlink(path)}, which is not there", runs, str(name))
    raise _missing(f"there is no run {str(name)!r}", runs, str(name))


def newest_finished_run(runs: Path = RUNS) -> RunDir:
    """The newest run whose training is finished; names sort by time.

    Raises UsageError if there is none, naming the unfinished ones.
    """
    found = [run for run in list_runs(runs) if run.is_finished]
    if found:
        return found[-1]
    unfinished = [run.name for run in list_runs(runs)]
    if unfinished:
        raise UsageError(
            "run-unfinished",
            f"no run below {runs} is finished; the newest is {unfinished[-1]}",
            where=str(runs / unfinished[-1]),
            fix=f"Wait for it, or continue it: luthier train --resume {runs / unfinished[-1]}",
        )
    raise UsageError(
        "run-missing",
        f"there is no run below {runs}",
        where=str(runs),
        fix="Train first: make train, or luthier train RECIPE",
    )


def list_runs(runs: Path = RUNS) -> list[RunDir]:
    """Every run below `runs`, oldest first."""
    if not runs.is_dir():
        return []
    return [
        RunDir(path)
        for path in sorted(runs.iterdir())
        if path.is_dir() and not path.is_symlink() and not path.name.startswith(".")
    ]


@contextmanager
def lock_run(run: RunDir) -> Iterator[None]:
    """Hold the run for this process; the kernel frees it when the process ends, however it ends.

    Raises UsageError naming the holder if another process has it, EnvironmentFault if the folder cannot be written.
    """
    path = run.path / ".lock"
    with disk_faults(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as fault:
            if fault.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise EnvironmentFault(
                    "env-disk", f"cannot lock {path}: {fault.strerror}", where=str(path)
                ) from fault
            raise _locked(run, os.pread(descriptor, 4096, 0)) from fault
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def is_locked(run: RunDir) -> bool:
    """Whether a living process holds the run."""
    try:
        descriptor = os.open(run.path / ".lock", os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)


def _locked(run: RunDir, holder: bytes) -> UsageError:
    try:
        facts = json.loads(holder)
        who = f"process {facts['pid']} on {facts['host']}"
    except (ValueError, KeyError, TypeError):
        who = "another process"
    return UsageError(
        "run-locked",
        f"the run {run.name} is being written by {who}",
        where=str(run.path),
        why="Two processes on one run would mix their checkpoints.",
        fix=f"Wait until it ends, or watch it: tensorboard --logdir {run.logs}",
    )


def _missing(what: str, runs: Path, name: str) -> UsageError:
    known = [run.name for run in list_runs(runs)]
    near = nearest(name, known, at_most=3) or known[-3:]
    listed = f"Runs there: {', '.join(near)}." if near else f"There is no run below {runs}."
    return UsageError("run-missing", what, where=str(runs), why=listed, fix="Name a run: luthier runs")
