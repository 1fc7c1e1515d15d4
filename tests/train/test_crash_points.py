"""Every crash point of one save: strace kills it, or lets the disk refuse, at the k-th call, for every k until none is left.

After each the run must find a valid checkpoint of this step or the one before, and nothing half written may look like one.
A kill keeps the page cache, so it does not model a power cut: that is what the order of fsync and rename is checked for.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from luthier.train.checkpoint import list_checkpoints, load_newest, rotate, save_checkpoint, step_of, sweep
from luthier.train.manifest import DamagedCheckpoint, check_folder
from tests.train.crash_driver import IDENTITY, save, tensors_of

pytestmark = pytest.mark.slow

# The names of a call on this machine: strace counts each name by itself, so each is enumerated by itself.
SYSTEM_CALLS = {
    "write": ("write", "pwrite64", "writev"),
    "fsync": ("fsync", "fdatasync"),
    "rename": ("rename", "renameat", "renameat2"),
    "mkdir": ("mkdir", "mkdirat"),
    "unlink": ("unlink", "unlinkat"),
    "rmdir": ("rmdir",),
    "symlink": ("symlink", "symlinkat"),
}
# How many calls of each one save makes at least; fewer would mean that the enumeration has lost sight of some.
LEAST_POINTS = {"write": 5, "fsync": 7, "rename": 5, "mkdir": 2, "unlink": 5, "rmdir": 1, "symlink": 1}
INJECTIONS = {"kill": "signal=KILL", "EIO": "error=EIO", "ENOSPC": "error=ENOSPC"}
# One save with its rotation makes far fewer calls of any kind; a loop that gets here never ends.
MOST_CALLS = 60


@dataclass
class Driver:
    """The process that forks a child for each crash point."""

    process: subprocess.Popen[str]

    def start(self, action: str, root: Path, mutant: str = "") -> int:
        """Fork a child that waits before it works; returns its pid."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"action": action, "root": str(root), "mutant": mutant}) + "\n")
        self.process.stdin.flush()
        pid = int(self.process.stdout.readline())
        wait_until(lambda: Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "Tt")
        return pid

    def status(self) -> int:
        """How the last child ended, as waitpid tells it."""
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "the child did not come to the expected state"
        time.sleep(0.001)


def trace(driver: Driver, action: str, root: Path, strace: list[str], *, mutant: str = "") -> tuple[int, str]:
    """Run one action under strace; returns the child's wait status and the trace."""
    pid = driver.start(action, root, mutant)
    log = root.parent / "trace"
    tracer = subprocess.Popen(
        ["strace", "-p", str(pid), "-o", str(log), "-s", "64", *strace],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"LC_ALL": "C"},
    )
    assert tracer.stderr is not None
    told = tracer.stderr.readline()
    if "attached" not in told:
        os.kill(pid, signal.SIGKILL)
        driver.status()
        pytest.fail(f"strace did not attach: {told}")
    os.kill(pid, signal.SIGCONT)
    status = driver.status()
    tracer.communicate(timeout=20)
    return status, log.read_text()


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    reason = why_no_strace()
    if reason:
        pytest.skip(reason)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.train.crash_driver", str(tmp_path_factory.mktemp("warm"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield Driver(process)
    process.communicate(timeout=20)


def why_no_strace() -> str:
    """Why strace cannot inject here, or nothing."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    sleeper = subprocess.Popen(["sleep", "20"])
    try:
        tracer = subprocess.Popen(["strace", "-p", str(sleeper.pid)], stderr=subprocess.PIPE, text=True)
        assert tracer.stderr is not None
        told = tracer.stderr.readline()
    finally:
        sleeper.kill()
        sleeper.wait()
    tracer.communicate(timeout=20)
    return "" if "attached" in told else f"strace may not attach here: {told.strip()}"


def make_root(folder: Path) -> Path:
    """A run that has saved steps 1 and 2."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for step in (1, 2):
        save(folder / "checkpoints", step)
    return folder / "checkpoints"


def broken_promises(root: Path) -> list[str]:
    """What a crash left that it must not leave; an empty list is what a good saver leaves."""
    newest = root / "newest"
    broken = [] if newest.is_symlink() and newest.is_dir() else ["newest points nowhere"]
    broken += [
        f"{folder.name} looks like a checkpoint and is none"
        for folder in list_checkpoints(root)
        if not is_valid(folder)
    ]
    if broken:
        return broken
    loaded = load_newest(root, identity=IDENTITY)
    if loaded.notes:
        broken.append(f"a checkpoint was set aside: {loaded.notes}")
    if loaded.step not in (2, 3) or loaded.facts["progress"]["step"] != loaded.step:
        broken.append(f"step {loaded.step} was found")
    for stem, named in tensors_of(loaded.step).items():
        broken += [
            f"{name} differs"
            for name, tensor in named.items()
            if not torch.equal(tensor, loaded.tensors[stem][name])
        ]
    return broken


def is_valid(folder: Path) -> bool:
    try:
        check_folder(folder)
    except DamagedCheckpoint:
        return False
    return True


def assert_goes_on(root: Path) -> None:
    """The next start sweeps, saves and rotates as if nothing had happened."""
    sweep(root)
    save_checkpoint(
        root, step=4, tensors=tensors_of(4), facts={"identity": IDENTITY, "progress": {"step": 4}}
    )
    rotate(root, keep=[4])
    assert sorted(path.name for path in root.iterdir()) == ["newest", "step-00000004"]
    assert load_newest(root, identity=IDENTITY).step == 4


@dataclass(frozen=True)
class CrashPoint:
    """A save that was broken at one call."""

    name: str
    root: Path
    status: int


def crash_points(
    driver: Driver, folder: Path, call: str, injection: str, mutant: str = ""
) -> Iterator[CrashPoint]:
    """Run the save with the k-th call broken, k = 1, 2, ... until none is."""
    for name in SYSTEM_CALLS[call]:
        for k in range(1, MOST_CALLS):
            root = make_root(folder)
            inject = f"inject={name}:{INJECTIONS[injection]}:when={k}"
            status, told = trace(driver, "save", root, ["-e", f"trace={name}", "-e", inject], mutant=mutant)
            if "INJECTED" not in told and "killed by SIGKILL" not in told:
                assert status == 0, f"the save failed by itself: {told}"
                break
            yield CrashPoint(f"{injection} at {name} number {k}", root, status)
        else:
            pytest.fail(f"more than {MOST_CALLS} calls of {name}")


@pytest.mark.parametrize("injection", INJECTIONS)
@pytest.mark.parametrize("call", SYSTEM_CALLS)
def test_a_save_survives_a_crash_at_any_call(
    driver: Driver, tmp_path: Path, call: str, injection: str
) -> None:
    points = 0
    for point in crash_points(driver, tmp_path / "run", call, injection):
        points += 1
        assert broken_promises(point.root) == [], f"after {point.name}"
        if injection == "kill":
            assert os.WIFSIGNALED(point.status)
        else:
            assert_reported(point)
        assert_goes_on(point.root)
    assert points >= LEAST_POINTS[call]


def assert_reported(point: CrashPoint) -> None:
    """A refusal of the disk ends in exit code 5, unless it did no harm: the folder was there, the save is whole."""
    exit_code = os.waitstatus_to_exitcode(point.status)
    is_whole = [step_of(folder) for folder in list_checkpoints(point.root)] == [2, 3]
    assert exit_code == 5 or (exit_code == 0 and is_whole), f"{point.name} was not reported"


@pytest.mark.parametrize("call", ["read", "openat"])
def test_a_read_error_while_loading_sets_no_checkpoint_aside(
    driver: Driver, tmp_path: Path, call: str
) -> None:
    for k in range(1, MOST_CALLS):
        root = make_root(tmp_path / "run")
        save(root, 3)
        told = trace(driver, "load", root, ["-e", f"trace={call}", "-e", f"inject={call}:error=EIO:when={k}"])
        assert [step_of(folder) for folder in list_checkpoints(root)] == [1, 2, 3], (
            f"EIO at {call} number {k}"
        )
        assert load_newest(root, identity=IDENTITY).step == 3
        if "INJECTED" not in told[1]:
            break
        assert os.waitstatus_to_exitcode(told[0]) in (0, 5)
    assert k > 3, f"loading makes no call of {call}"


def synced_before_rename(told: str) -> bool:
    """Whether a trace with file names shows every file and the folder synced before the folder gets its name."""
    lines = told.splitlines()
    renamed = next(
        n
        for n, line in enumerate(lines)
        if re.search(r'rename\(".*/\.tmp-step-[^"]*", ".*/step-00000003"', line)
    )
    before, after = lines[:renamed], lines[renamed:]
    synced = {match[1] for line in before if (match := re.search(r"fsync\(\d+<[^>]*/([^>/]*)>", line))}
    wanted = {"weights.safetensors", "optimizer.safetensors", "facts.json", "manifest.json"}
    manifest_opened = next(n for n, line in enumerate(before) if "manifest.json" in line)
    first_synced = {
        m[1] for line in before[:manifest_opened] if (m := re.search(r"fsync\(\d+<[^>]*/([^>/]*)>", line))
    }
    parent_synced = next(
        (n for n, line in enumerate(after) if re.search(r"fsync\(\d+<[^>]*/checkpoints>", line)), len(after)
    )
    pointed = next(n for n, line in enumerate(after) if re.search(r'rename\(".*\.tmp-newest[^"]*"', line))
    return (
        wanted <= synced
        and any(name.startswith(".tmp-step-") for name in synced)
        and wanted - {"manifest.json"} <= first_synced
        and parent_synced < pointed
    )


CALLS_WITH_NAMES = ["-y", "-e", "trace=openat,fsync,fdatasync,rename,renameat"]


def test_every_file_is_synced_before_the_rename_and_the_parent_before_the_pointer(
    driver: Driver, tmp_path: Path
) -> None:
    status, told = trace(driver, "save", make_root(tmp_path / "run"), CALLS_WITH_NAMES)
    assert status == 0
    assert synced_before_rename(told), told


@pytest.mark.parametrize("mutant", ["files are not synced", "folder is not synced"])
def test_a_saver_that_does_not_sync_is_found_out(driver: Driver, tmp_path: Path, mutant: str) -> None:
    status, told = trace(driver, "save", make_root(tmp_path / "run"), CALLS_WITH_NAMES, mutant=mutant)
    assert status == 0
    assert not synced_before_rename(told)


@pytest.mark.parametrize(
    ("mutant", "call"),
    [("written in place", "write"), ("pointer first", "rename"), ("deleted under its own name", "unlink")],
)
def test_a_saver_with_the_wrong_order_is_found_out(
    driver: Driver, tmp_path: Path, mutant: str, call: str
) -> None:
    for point in crash_points(driver, tmp_path / "run", call, "kill", mutant):
        if broken_promises(point.root):
            return
    pytest.fail(f"the enumeration does not notice a saver that is {mutant}")
