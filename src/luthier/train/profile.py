"""`train.profile`: trace a few steps of a training after its warm-up, and say where their time went.

    <run>/logs/profile/trace.json.gz   torch's Chrome trace of the steps
    <run>/logs/profile/profile.json    the costs, by luthier.modelling.step_costs

Nothing that is trained depends on it. A disk that refuses the files is warned of and does not stop the training.
"""

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import torch

from luthier.floor.errors import EnvironmentFault
from luthier.floor.files import write_json
from luthier.modelling.device import describe_device
from luthier.modelling.profiler import StepRecorder
from luthier.modelling.step_costs import COSTS, StepCosts

if TYPE_CHECKING:
    from luthier.train.loop import Job

# The first steps compile, tune and fill caches. Three steps are some ten thousand events of an eager model.
STEPS_BEFORE = 10
STEPS_TRACED = 3
FOLDER, TRACE, RESULT = "profile", "trace.json.gz", "profile.json"


def profile_folder(logs: Path) -> Path:
    """Where a run keeps its trace."""
    return logs / FOLDER


class StepProfile:
    """Told of every step of a session; records some of them. Without `train.profile` it does nothing."""

    def __init__(self, job: "Job", *, done_steps: int) -> None:
        self._job = job
        left = job.order.total_steps - done_steps
        self._steps = min(STEPS_TRACED, max(0, left - 1))
        # The step before the first that is traced runs under the profiler too.
        self._first = done_steps + max(1, min(STEPS_BEFORE, left - self._steps))
        self._recorder: StepRecorder | None = None
        self._is_on = bool(job.recipe.train.profile) and self._steps > 0
        if job.recipe.train.profile and not self._is_on:
            job.listener.warn(f"train.profile has no step to trace: {left} steps are left, and it needs two")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def device(self) -> torch.device:
        """Where the steps are taken."""
        return self._job.device

    def before_step(self, step: int) -> None:
        """Step number `step`, counted from 0, is about to be taken."""
        if not self._is_on:
            return
        if step == self._first - 1:
            self._recorder = StepRecorder(self._job.device, steps=self._steps)
            self._recorder.start()
        if self._recorder is not None:
            self._recorder.begin_step()

    def after_step(self, step: int) -> bool:
        """That step was taken; True if the trace was written now, which takes seconds that are no part of a step."""
        if self._recorder is None:
            return False
        self._recorder.end_step()
        if step != self._first + self._steps - 1:
            return False
        recorder, self._recorder, self._is_on = self._recorder, None, False
        self._write(recorder)
        return True

    def close(self) -> None:
        """End a recording that was cut short; nothing is written of it."""
        if self._recorder is not None:
            self._recorder.stop()
            self._recorder, self._is_on = None, False

    def _write(self, recorder: StepRecorder) -> None:
        job, folder = self._job, profile_folder(self._job.run.logs)
        try:
            costs = recorder.finish(folder / TRACE)
            write_json(folder / RESULT, self._result(costs))
        except EnvironmentFault as fault:
            job.listener.warn(f"the profile is not kept: {fault.what}")
            return
        shares = ", ".join(f"{cost.replace('_', ' ')} {costs.share(cost):.0%}" for cost in COSTS if costs.share(cost) >= 0.01)  # fmt: skip
        job.listener.say(f"traced {costs.steps} steps: {shares}; {folder / TRACE}")

    def _result(self, costs: StepCosts) -> dict[str, Any]:
        job = self._job
        return {
            "first_step": self._first + 1,
            "last_step": self._first + self._steps,
            "device": describe_device(job.device),
            "precision": job.precision.name,
            "attention": job.batches.attention,
            "flops_per_token": job.flops_per_token,
            "peak_flops": job.peak_flops,
            "steps": costs.steps,
            "wall_seconds": costs.wall_seconds,
            "on_device": costs.on_device,
            "seconds": costs.seconds,
            "shares": {cost: costs.share(cost) for cost in COSTS},
        }
