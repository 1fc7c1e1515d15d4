"""metrics.jsonl, the truth about a run: one JSON object a line, which every viewer reads; and the line a person watches.

A resumed run cuts the file back to its checkpoint first, so that no step stands in it twice.
"""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luthier.floor.files import disk_faults, write_text
from luthier.floor.log import Listener
from luthier.floor.units import format_bytes, format_count, format_duration


class MetricsFile:
    """Appends lines; a disk that refuses them is warned of once and does not stop the training."""

    def __init__(self, path: Path, listener: Listener) -> None:
        self._path = path
        self._listener = listener
        self._has_warned = False

    def cut_back(self, step: int) -> None:
        """Drop every line of a later step, and a half line that a crash left."""
        if not self._path.exists():
            return
        kept = []
        with disk_faults(self._path):
            content = self._path.read_bytes()
        # Split as bytes: a half line may end inside a character, and a text may hold one that Python takes for a line's end.
        for line in content.split(b"\n"):
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if entry["step"] <= step:
                kept.append(line.decode("utf-8"))
        write_text(self._path, "".join(f"{line}\n" for line in kept))

    def append(self, entry: Mapping[str, Any]) -> None:
        """Write one line, or none of it, and hand it to the operating system."""
        line = json.dumps(entry, allow_nan=False, ensure_ascii=False) + "\n"
        end_bytes = self._path.stat().st_size if self._path.exists() else 0
        try:
            with open(self._path, "ab") as file:
                file.write(line.encode("utf-8"))
        except OSError as fault:
            # Half a line would spoil the next one too. A disk that refuses this as well was warned of.
            with contextlib.suppress(OSError):
                os.truncate(self._path, end_bytes)
            if not self._has_warned:
                self._listener.warn(
                    f"cannot write {self._path}: {fault.strerror}; training goes on without it"
                )
                self._has_warned = True


def progress_detail(entry: Mapping[str, Any], *, seconds_left: float) -> str:
    """The measured values of the moment, for the progress line."""
    parts = [
        f"loss {entry['loss']:.4f}",
        f"lr {entry['lr']:.2e}",
        f"norm {entry['grad_norm']:.2f}",
        f"{format_count(entry['tokens_per_second'])} tok/s",
    ]
    if entry.get("share_of_peak") is not None:
        parts.append(f"{entry['share_of_peak']:.0%} of peak")
    parts += [f"{format_bytes(entry['peak_bytes'])} peak", f"{format_duration(seconds_left)} left"]
    return "  ".join(parts)
