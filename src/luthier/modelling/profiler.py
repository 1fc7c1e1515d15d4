"""Record some work with torch's profiler: a Chrome trace on the disk, and where the time went.

Only what is inside `step()` counts; the profiler itself is started one step earlier, since its first step is slower.
"""

import contextlib
import gzip
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, record_function, schedule

from luthier.floor.files import TEMPORARY_PREFIX, disk_faults
from luthier.modelling.step_costs import STEP, StepCosts, break_down, read_events


class StepRecorder:
    """Records `steps` steps after one that is not kept. Use: start(), then step() around each, then finish(path)."""

    def __init__(self, device: torch.device, *, steps: int) -> None:
        self._device = device
        activities = [ProfilerActivity.CPU]
        if device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        self._profile = profile(
            activities=activities,
            schedule=schedule(wait=0, warmup=1, active=steps, repeat=1),
            on_trace_ready=lambda _: None,
        )
        self._range: record_function | None = None
        self._is_running = False

    def start(self) -> None:
        with quiet_stderr():
            self._profile.start()
        self._is_running = True

    def begin_step(self) -> None:
        """A step begins; work of the step before is waited for, so that it is not counted here."""
        self._wait()
        self._range = record_function(STEP)
        self._range.__enter__()  # type: ignore[no-untyped-call]

    def end_step(self) -> None:
        """A step is over, its kernels too."""
        self._wait()
        assert self._range is not None, "begin_step comes first"
        self._range.__exit__(None, None, None)
        self._range = None
        with quiet_stderr():
            self._profile.step()

    def finish(self, path: Path) -> StepCosts:
        """Write the trace (`*.json.gz`, opened by chrome://tracing or ui.perfetto.dev) and cut the steps' time into costs."""
        self.stop()
        temporary = path.with_name(f"{TEMPORARY_PREFIX}{path.name}")
        with disk_faults(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                plain = temporary.with_suffix("")
                self._profile.export_chrome_trace(str(plain))
                content = plain.read_bytes()
                plain.unlink()
                temporary.write_bytes(gzip.compress(content, compresslevel=5))
                os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)
                temporary.with_suffix("").unlink(missing_ok=True)
        return break_down(read_events(json.loads(content)))

    def stop(self) -> None:
        """End the recording; what is recorded stays with it."""
        if self._range is not None:
            self._range.__exit__(None, None, None)
            self._range = None
        if self._is_running:
            self._is_running = False
            with quiet_stderr():
                self._profile.stop()

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Keep what torch's C++ profiler writes to the process's standard error off the terminal: stages never print."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
