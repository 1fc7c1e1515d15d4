"""Trainings that die: a process that imports everything once and forks a child for each training asked of it.

Importing torch, transformers and peft takes seconds, a tiny training a fraction of one. The parent itself never trains, so
its children inherit no threads. A child behaves as `luthier train` does: signals set a flag, and an error ends it with its
exit code after writing what it would have shown to `fault.txt` beside the run.
"""

import contextlib
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from luthier.config.recipe import Recipe
from luthier.floor.errors import LuthierError
from luthier.floor.rundir import RunDir
from luthier.floor.stop import StopFlag, listen_for_stop
from luthier.train import checkpoint, loop, step
from luthier.train.stage import train

# A tiny training is done in a second; this is for a machine that is busy with other things.
PATIENCE_S = 120.0


@dataclass(frozen=True)
class Trouble:
    """What shall go wrong, or slowly, in a child."""

    step_seconds: float = 0.0
    """Every step takes so much longer, so that a signal can meet a chosen one."""
    save_seconds: float = 0.0
    """Every save waits so long between its files and its manifest."""
    poison_step: int = 0
    """The step whose gradients get a value that is not finite; 0 means none."""
    poison: str = "nan"
    file_limit_bytes: int = 0
    """No file may grow larger; 0 means no limit. The disk then refuses as a full one does."""


@dataclass
class Child:
    """A training in a process of its own."""

    pid: int
    driver: "TrainDriver"

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Its exit code, or minus the signal that ended it."""
        return os.waitstatus_to_exitcode(int(self.driver.answer()))


class TrainDriver:
    """The parent process; one child at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.whole.train_driver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert self.answer() == "ready"

    def start(self, recipe: Recipe, run: RunDir, **trouble: Any) -> Child:
        """Begin, or go on with, a training in a child."""
        assert self._process.stdin is not None
        request = {"recipe": recipe.model_dump(mode="json"), "run": str(run.path), "trouble": trouble}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return Child(int(self.answer()), self)

    def train(self, recipe: Recipe, run: RunDir, **trouble: Any) -> int:
        """Train to the end; returns the exit code."""
        return self.start(recipe, run, **trouble).wait()

    def answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        self._process.communicate(timeout=PATIENCE_S)


def fault_of(run: RunDir) -> str:
    """What the last child would have shown."""
    return (run.path / "fault.txt").read_text(encoding="utf-8")


def logged_steps(run: RunDir) -> int:
    """Steps in metrics.jsonl so far; every one is logged."""
    if not run.metrics.exists():
        return 0
    return run.metrics.read_text(encoding="utf-8").count('"loss"')


def wait_until(condition: Callable[[], bool], *, what: str) -> None:
    """Wait for a child to come somewhere."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.002)


def wait_for_step(run: RunDir, step: int) -> None:
    """Wait until a child has logged a step."""
    wait_until(lambda: logged_steps(run) >= step, what=f"step {step}")


def work(request: dict[str, Any]) -> int:
    """One training in this process; returns its exit code."""
    run = RunDir(Path(request["run"]))
    arrange(Trouble(**request["trouble"]))
    with listen_for_stop(StopFlag()) as stop:
        try:
            train(Recipe.model_validate(request["recipe"]), run, stop=stop)
        except LuthierError as fault:
            (run.path / "fault.txt").write_text(fault.render(), encoding="utf-8")
            return fault.exit_code
    return 0


def arrange(trouble: Trouble) -> None:
    """Put the trouble into this process, which does nothing else afterwards."""
    if trouble.file_limit_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (trouble.file_limit_bytes, trouble.file_limit_bytes))
    honest_step, honest_manifest, honest_norm = loop.take_step, checkpoint.write_manifest, step.gradient_norm
    done = 0

    def slow_step(*arguments: Any, number: int, **named: Any) -> Any:
        nonlocal done
        time.sleep(trouble.step_seconds)
        done = number
        return honest_step(*arguments, number=number, **named)

    def slow_manifest(*arguments: Any, **named: Any) -> None:
        time.sleep(trouble.save_seconds)
        honest_manifest(*arguments, **named)

    def poisoned_norm(job: Any) -> Any:
        if done + 1 == trouble.poison_step:
            parameter = list(job.parameters.values())[-1]
            parameter.grad.view(-1)[0] = float(trouble.poison)
        return honest_norm(job)

    loop.take_step, checkpoint.write_manifest, step.gradient_norm = slow_step, slow_manifest, poisoned_norm


def main() -> None:
    torch.set_num_threads(1)
    # Transformers imports a model's module when one is first loaded: here, once, and not in every child.
    importlib.import_module("transformers.models.qwen2.modeling_qwen2")
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def tell(line: str | int) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    tell("ready")
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 70
            with contextlib.suppress(SystemExit):
                code = work(json.loads(line))
            os._exit(code)
        tell(pid)
        tell(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    main()
