"""Neptune, which Accelerate has no class for. NEPTUNE_API_TOKEN and NEPTUNE_MODE=offline are read by the library itself."""

import importlib
from collections.abc import Mapping
from typing import Any

from luthier.train.trackers.tracker import Destination, flatten


class Neptune:
    """One Neptune run; a resumed training finds it again by the run's name."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._run: Any = None

    def start(self, step: int) -> None:
        neptune = importlib.import_module("neptune")
        # Neptune would otherwise upload the source files, the commit, the terminal's text and the hardware's load.
        self._run = neptune.init_run(
            project=self._destination.project if "/" in self._destination.project else None,
            name=self._destination.run_name,
            custom_run_id=self._destination.run_name,
            source_files=[],
            git_ref=False,
            capture_stdout=False,
            capture_stderr=False,
            capture_hardware_metrics=False,
        )
        if not step:
            for key, value in flatten(self._destination.config).items():
                self._run[f"recipe/{key.replace('.', '/')}"] = value

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if self._run is not None:
            for name, value in values.items():
                self._run[name].append(value, step=step)

    def text(self, step: int, name: str, text: str) -> None:
        if self._run is not None:
            self._run[name].append(text, step=step)

    def close(self) -> None:
        if self._run is not None:
            self._run.stop()
            self._run = None
