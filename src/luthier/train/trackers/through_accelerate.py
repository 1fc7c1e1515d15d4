"""The trackers that Accelerate has classes for, one function each: how its class is to be made.

Each is started so that a resumed training goes on in the same tracked run: some services find it by its name, for others
the identifier is kept beside the logs. Where a service can work from a local folder, it is the run's logs folder.
"""

import hashlib
import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.floor.files import write_text
from luthier.train.trackers.tracker import Destination, flatten


@dataclass(frozen=True)
class Settings:
    """How one of Accelerate's tracker classes is made and used."""

    class_name: str
    name: str
    """Its first argument, which is the project for some and the run for others."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    takes_text: bool = False
    identifier_of: Callable[[Any], str] | None = None
    """The service's own identifier of a started run, to be kept for resuming."""
    finish: Callable[[], None] | None = None
    """What closes the run, where the tracker class's own way does not do it whole."""


def wandb(destination: Destination) -> Settings:
    """Weights & Biases; WANDB_MODE=offline keeps everything in the logs folder."""
    return Settings(
        class_name="WandBTracker",
        name=destination.project,
        arguments={
            "name": destination.run_name,
            "id": destination.run_name,
            "resume": "allow",
            "dir": str(destination.logs),
            "settings": {"console": "off"},  # what the terminal shows is not the tracker's business
        },
        takes_text=True,
    )


def trackio(destination: Destination) -> Settings:
    """Trackio: a local database in TRACKIO_DIR, shown by `trackio show`."""
    return Settings(
        class_name="TrackioTracker",
        name=destination.project,
        arguments={
            "name": destination.run_name,
            "resume": "allow",
            "embed": False,
            "auto_log_cpu": False,
            "auto_log_gpu": False,
        },
        takes_text=True,
        # Accelerate leaves the run current, and Trackio then closes it once more at exit and says so on stdout.
        finish=importlib.import_module("trackio").finish,
    )


def mlflow(destination: Destination) -> Settings:
    """MLflow: the server in MLFLOW_TRACKING_URI, or a database in the logs folder."""
    if "MLFLOW_TRACKING_URI" not in os.environ:
        library = importlib.import_module("mlflow")
        library.set_tracking_uri(f"sqlite:///{destination.logs.resolve() / 'mlflow.db'}")
    return Settings(
        class_name="MLflowTracker",
        name=destination.project,
        arguments={
            "run_name": destination.run_name,
            "run_id": _kept_identifier(destination, "mlflow"),
            "logging_dir": (destination.logs / "mlflow").resolve().as_uri(),
        },
        identifier_of=lambda run: str(run.info.run_id),
    )


def aim(destination: Destination) -> Settings:
    """Aim: a repository in the logs folder, shown by `aim up --repo`."""
    return Settings(
        class_name="AimTracker",
        name=destination.run_name,
        arguments={
            "logging_dir": str(destination.logs),
            "experiment": destination.project,
            "run_hash": _kept_identifier(destination, "aim"),
            "capture_terminal_logs": False,
            "system_tracking_interval": None,
        },
        identifier_of=lambda run: str(run.hash),
    )


def comet(destination: Destination) -> Settings:
    """Comet; COMET_START_ONLINE=0 keeps everything on this machine."""
    # Comet's keys are 32 to 50 letters and digits.
    key = hashlib.sha256(f"{destination.project}/{destination.run_name}".encode()).hexdigest()[:40]
    return Settings(
        class_name="CometMLTracker",
        name=destination.project,
        arguments={
            "experiment_key": key,
            "mode": "get_or_create",
            "experiment_config": importlib.import_module("comet_ml").ExperimentConfig(
                offline_directory=str(destination.logs),
                log_code=False,
                log_graph=False,
                log_git_metadata=False,
                log_git_patch=False,
                log_env_details=False,
                auto_output_logging=False,
                auto_param_logging=False,
                auto_metric_logging=False,
            ),
        },
        takes_text=True,
    )


def clearml(destination: Destination) -> Settings:
    """ClearML; CLEARML_OFFLINE_MODE=1 keeps everything on this machine."""
    return Settings(
        class_name="ClearMLTracker",
        name=destination.run_name,
        arguments={
            "project_name": destination.project,
            "task_name": destination.run_name,
            "continue_last_task": _kept_identifier(destination, "clearml") or False,
            "auto_connect_frameworks": False,
            "auto_connect_streams": False,
            "auto_connect_arg_parser": False,
            "auto_resource_monitoring": False,
        },
        identifier_of=lambda task: str(task.id),
    )


class AcceleratedTracker:
    """One of Accelerate's trackers as this package speaks to all of them."""

    def __init__(self, make_settings: Callable[[Destination], Settings], destination: Destination) -> None:
        self._make_settings = make_settings
        self._destination = destination
        self._settings: Settings | None = None
        self._tracker: Any = None

    def start(self, step: int) -> None:
        tracking = importlib.import_module("accelerate.tracking")
        tracking.PartialState()  # Accelerate's trackers ask it which process they are in.
        settings = self._make_settings(self._destination)
        tracker = getattr(tracking, settings.class_name)(settings.name, **settings.arguments)
        tracker.start()
        self._tracker, self._settings = tracker, settings
        if settings.identifier_of is not None:
            _keep_identifier(self._destination, tracker.name, settings.identifier_of(tracker.tracker))
        if not step:
            tracker.store_init_configuration(flatten(self._destination.config))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if self._tracker is not None:
            self._tracker.log(dict(values), step=step)

    def text(self, step: int, name: str, text: str) -> None:
        if self._settings is not None and self._settings.takes_text:
            self._tracker.log({name: text}, step=step)

    def close(self) -> None:
        if self._settings is not None:
            (self._settings.finish or self._tracker.finish)()
            self._tracker, self._settings = None, None


def _identifier_file(destination: Destination, tracker: str) -> Path:
    return destination.logs / f"{tracker}-run.txt"


def _kept_identifier(destination: Destination, tracker: str) -> str | None:
    path = _identifier_file(destination, tracker)
    return path.read_text(encoding="utf-8").strip() if path.exists() else None


def _keep_identifier(destination: Destination, tracker: str, identifier: str) -> None:
    write_text(_identifier_file(destination, tracker), identifier + "\n")
