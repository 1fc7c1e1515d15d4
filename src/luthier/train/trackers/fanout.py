"""Send metrics to every tracker that the recipe names, and drop one that fails instead of the training.

Trackers are foreign code that talks to disks and networks. What they print goes to stderr, since stdout belongs to the
command; what they raise is caught here, once, by the kinds that such code raises and by the library's own base error.
"""

import contextlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.floor.errors import EnvironmentFault
from luthier.floor.log import Listener
from luthier.train.trackers.board import TensorBoard
from luthier.train.trackers.neptune import Neptune
from luthier.train.trackers.through_accelerate import (
    AcceleratedTracker,
    aim,
    clearml,
    comet,
    mlflow,
    trackio,
    wandb,
)
from luthier.train.trackers.tracker import Destination, Tracker

# What disks, sockets and client libraries raise; requests' errors are OSErrors.
FAULTS = (OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError)
# No telemetry and no surprises: nobody is told that a tracker is used, and no tracker reports its crashes to its maker.
QUIET = {
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_SILENT": "true",
    "GRADIO_ANALYTICS_ENABLED": "False",
    # Otherwise ClearML reads every source file below the working folder, a virtual environment included: minutes.
    "CLEARML__SDK__DEVELOPMENT__DETECT_WITH_PIP_FREEZE": "true",
}


@dataclass(frozen=True)
class Kind:
    """A sort of tracker: the module that it needs, how it is made, and the base of the errors that it raises."""

    module: str
    make: Callable[[Destination], Tracker]
    error: str = ""
    """Where the library's own base error is: `module:name`."""
    extra: str = ""
    """The extra that installs it, where that is not the tracker's name."""


def _accelerated(settings: Callable[[Destination], Any]) -> Callable[[Destination], Tracker]:
    return lambda destination: AcceleratedTracker(settings, destination)


KINDS: dict[str, Kind] = {
    "tensorboard": Kind("tensorboard", TensorBoard),
    "wandb": Kind("wandb", _accelerated(wandb), "wandb.errors:Error"),
    "mlflow": Kind("mlflow", _accelerated(mlflow), "mlflow.exceptions:MlflowException"),
    "aim": Kind("aim", _accelerated(aim)),
    "trackio": Kind("trackio", _accelerated(trackio)),
    "comet_ml": Kind("comet_ml", _accelerated(comet), "comet_ml.exceptions:CometException", "comet"),
    "clearml": Kind("clearml", _accelerated(clearml), "clearml.errors:UsageError"),
    "neptune": Kind("neptune", Neptune, "neptune.exceptions:NeptuneException"),
}


class Trackers:
    """All trackers of a run; the loop speaks to this alone."""

    def __init__(self, trackers: Mapping[str, Tracker], listener: Listener) -> None:
        self._trackers = dict(trackers)
        self._listener = listener

    @property
    def names(self) -> tuple[str, ...]:
        """The trackers that still work."""
        return tuple(self._trackers)

    def start(self, step: int) -> None:
        """Open every tracker at `step`.

        A tracker that cannot be opened for a new run (step 0) is refused, since nothing is lost yet: EnvironmentFault
        env-network. When a run is resumed it is dropped with a warning, as one that fails later is.
        """
        for name, tracker in list(self._trackers.items()):
            with self._guarded(name, is_fatal=step == 0), _quiet_environment():
                tracker.start(step)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Send the numbers of one step to every tracker."""
        for name, tracker in list(self._trackers.items()):
            with self._guarded(name):
                tracker.log(step, values)

    def text(self, step: int, name: str, text: str) -> None:
        """Send a text of one step to the trackers that show texts."""
        for tracker_name, tracker in list(self._trackers.items()):
            with self._guarded(tracker_name):
                tracker.text(step, name, text)

    def close(self) -> None:
        """Close every tracker; safe to call twice."""
        for name, tracker in list(self._trackers.items()):
            with self._guarded(name):
                tracker.close()
            self._trackers.pop(name, None)

    @contextlib.contextmanager
    def _guarded(self, name: str, *, is_fatal: bool = False) -> Iterator[None]:
        try:
            with contextlib.redirect_stdout(sys.stderr):
                yield
        except _faults_of(name) as fault:
            if is_fatal:
                raise _cannot_open(name, fault) from fault
            self._listener.warn(
                f"the tracker {name} failed and is dropped: {_first_line(fault)}; metrics.jsonl goes on"
            )
            self._trackers.pop(name, None)


def open_trackers(
    names: Collection[str],
    *,
    logs: Path,
    project: str,
    run_name: str,
    config: Mapping[str, Any],
    listener: Listener,
) -> Trackers:
    """The trackers of a run, not yet started; raises EnvironmentFault (env-extra) if one is not installed."""
    for name in names:
        kind = KINDS[name]
        if importlib.util.find_spec(kind.module) is None:
            raise EnvironmentFault(
                "env-extra",
                f"the tracker {name} is not installed",
                where="train.log.trackers",
                fix=f'Install it: pip install "luthier[{kind.extra or name}]"',
            )
    destination = Destination(logs=logs, project=project, run_name=run_name, config=config)
    return Trackers({name: KINDS[name].make(destination) for name in names}, listener)


@contextlib.contextmanager
def _quiet_environment() -> Iterator[None]:
    """Switch telemetry off while a tracker starts; what the person set stays, and the environment is put back."""
    added = {key: value for key, value in QUIET.items() if key not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for key in added:
            os.environ.pop(key, None)


def _faults_of(name: str) -> tuple[type[Exception], ...]:
    """What a tracker may raise. Python asks only once something was raised, when the library is long imported."""
    module_name, _, attribute = KINDS[name].error.partition(":")
    module = sys.modules.get(module_name)
    return (*FAULTS, getattr(module, attribute)) if module is not None else FAULTS


def _cannot_open(name: str, fault: Exception) -> EnvironmentFault:
    return EnvironmentFault(
        "env-network",
        f"the tracker {name} cannot be opened: {_first_line(fault)}",
        where="train.log.trackers",
        fix="Mend it, use its offline mode, or leave it out: luthier train RECIPE train.log.trackers=[tensorboard]",
    )


def _first_line(fault: Exception) -> str:
    text = str(fault).strip()
    return text.splitlines()[0] if text else type(fault).__name__
