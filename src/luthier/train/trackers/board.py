"""TensorBoard: event files in the run's logs, to be watched with `tensorboard --logdir`."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from luthier.train.trackers.tracker import Destination

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoard:
    """Writes event files straight into the logs folder, without a folder for each run below it."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._writer: SummaryWriter | None = None

    def start(self, step: int) -> None:
        """Steps after `step` that an earlier session wrote are hidden: TensorBoard calls that purging."""
        from torch.utils.tensorboard import SummaryWriter  # a second of imports, for runs that want it

        purge_step = step + 1 if step else None
        _wait_for_a_later_second(self._destination.logs)
        self._writer = SummaryWriter(str(self._destination.logs), purge_step=purge_step)
        if not step:
            recipe = json.dumps(self._destination.config, indent=2, ensure_ascii=False)
            self._writer.add_text("recipe", "".join(f"    {line}\n" for line in recipe.splitlines()), 0)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if self._writer is None:
            return
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        # A run may be killed at any moment, and someone may be watching.
        self._writer.flush()

    def text(self, step: int, name: str, text: str) -> None:
        if self._writer is not None:
            self._writer.add_text(name, text, step)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _wait_for_a_later_second(logs: Path) -> None:
    """Event files are read in the order of their names: the second of their making, then host and process.

    A run resumed within the second of its stop could be read before its own past, and nothing would be purged.
    """
    seconds = [int(path.name.split(".")[3]) for path in logs.glob("events.out.tfevents.[0-9]*")]
    while time.time() < max(seconds, default=0) + 1 < time.time() + 2:
        time.sleep(0.05)
