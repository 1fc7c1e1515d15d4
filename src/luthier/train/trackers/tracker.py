"""What a tracker is: a place outside the run's own files that metrics are copied to.

metrics.jsonl is the truth; a tracker is a view of it. So a tracker never stops a training, and each starts at a step: a
resumed run goes on where its checkpoint was.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Destination:
    """Under which names a run appears at its trackers, and where those that write files write them."""

    logs: Path
    project: str
    run_name: str
    config: Mapping[str, Any]
    """The resolved recipe; it holds no secrets."""


class Tracker(Protocol):
    """One place that metrics go to."""

    def start(self, step: int) -> None:
        """Open the place; values of steps after `step` that an earlier session left there do not count."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of one step, by name."""

    def text(self, step: int, name: str, text: str) -> None:
        """A text of one step, such as a sample answer."""

    def close(self) -> None:
        """Bring everything to its place; nothing is logged afterwards."""


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, str | int | float | bool]:
    """The recipe with dotted keys and plain values, as trackers take hyper-parameters."""
    flat: dict[str, str | int | float | bool] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, str | int | float | bool) else str(value)
    return flat
