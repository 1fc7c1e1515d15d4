"""Run a module of Luthier in a Python of its own: work that may die there, or that must not share this process's memory."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from luthier.floor.stop import StopFlag

PACKAGE = Path(__file__).parents[1]
POLL_SECONDS = 0.1
END_SECONDS = 10.0


def run_module(
    module: str,
    arguments: Sequence[str],
    *,
    log: Path,
    stop: StopFlag | None,
    stopped: str,
    repeat: str,
    variables: Mapping[str, str] | None = None,
) -> int:
    """Run `python -m module arguments` to its end, its words in `log`; returns its exit code, negative for a signal.

    `variables` are added to the environment. What StopFlag.check raises ends the process first: `stopped` says what became of the
    work, `repeat` what to type.
    """
    # -P: the user's folder must not come first among the places to import from.
    command = [sys.executable, "-P", "-m", module, *arguments]
    with open(log, "wb") as output:
        # A session of its own: Ctrl-C in the terminal reaches this process, which ends the other one.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, "PYTHONPATH": _import_path(), **(variables or {})},
            start_new_session=True,
        )
        try:
            _wait(process, stop, stopped, repeat)
        finally:
            _end(process)
    return process.returncode


def read_tail(log: Path, *, most_bytes: int = 8192) -> str:
    """The last of what a process said."""
    with open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - most_bytes))
        return file.read().decode(errors="replace").strip()


def _import_path() -> str:
    """PYTHONPATH with this very Luthier before all others."""
    return os.pathsep.join([str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])


def _wait(process: "subprocess.Popen[bytes]", stop: StopFlag | None, stopped: str, repeat: str) -> None:
    while True:
        try:
            process.wait(POLL_SECONDS)
            return
        except subprocess.TimeoutExpired:
            if stop is not None:
                stop.check(stopped, fix=repeat)


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
