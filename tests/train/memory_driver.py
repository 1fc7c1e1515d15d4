"""A training in a process of its own whose address space is limited at a chosen place. Arguments: run, base, place, room in MiB.

`place` is `loading`, or the number of a step behind which the limit is set. Leaves with the fault's exit code, its message on stderr.
"""

import resource
import sys
from pathlib import Path
from typing import Any

from luthier.config.recipe import Recipe
from luthier.floor.errors import LuthierError
from luthier.floor.log import Silent
from luthier.floor.rundir import RunDir
from luthier.floor.stop import StopFlag
from luthier.reports.data import DataReport
from luthier.tokens.store import TokenStore
from luthier.train.loop import fit
from luthier.train.memory_faults import SAVED, explained, in_step
from luthier.train.save import resume
from luthier.train.stage import prepare_job
from tests.train.runs import make_recipe


def recipe_of(base: Path) -> Recipe:
    """Steps of 64 rows of 512 tokens, a checkpoint every second one."""
    settings: dict[str, Any] = {
        "epochs": 1,
        "batch_size": 64,
        "gradient_accumulation_steps": 1,
        "checkpoint": {"save_steps": 2, "keep_last": 1, "keep_best": 0},
    }
    return make_recipe(base, data={"max_length": 512}, train=settings)


def limit_memory(room_mib: int) -> None:
    """Let the process grow by so much more and no further."""
    with open("/proc/self/status", encoding="ascii") as file:
        taken = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmSize:"))
    resource.setrlimit(resource.RLIMIT_AS, (taken + room_mib * 2**20, resource.RLIM_INFINITY))


class Limiting(Silent):
    """Sets the limit once the step is done."""

    def __init__(self, step: int, room_mib: int) -> None:
        self.step, self.room_mib = step, room_mib

    def progress(self, label: str, done: int, total: int, detail: str = "") -> None:
        if label == "training" and done == self.step:
            limit_memory(self.room_mib)


def main(run_folder: str, base: str, place: str, room_mib: str) -> int:
    run, recipe = RunDir(Path(run_folder)), recipe_of(Path(base))
    data = DataReport.read(run.report("data"))
    is_loading = place == "loading"
    listener = Silent() if is_loading else Limiting(int(place), int(room_mib))
    try:
        if is_loading:
            limit_memory(int(room_mib))
        with explained(recipe, "while the model was put into memory", stage="loading"):
            rows = TokenStore.open(Path(data.store) / "train")
            job, _ = prepare_job(recipe, run, data, rows, listener, StopFlag())
        progress = resume(job)
        job.trackers.start(progress.step)
        with explained(recipe, lambda: in_step(job, progress), saved=SAVED):
            fit(job, progress)
    except LuthierError as fault:
        sys.stderr.write(fault.render() + "\n")
        return fault.exit_code
    sys.stdout.write(f"resumed {progress.resumed_from}, done {progress.step}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
