"""Write down every row that a stage leaves out, and what is cut off rows that stay: one line each, beside the stores.

<store>/dropped.jsonl   stage, split, reason, origin (file:line), is_kept, tokens, trained_tokens, and what the stage knows more
"""

import json
from pathlib import Path
from typing import IO, Self

from luthier.floor.files import disk_faults
from luthier.reports.ledger import SplitName, Stage

DROPPED = "dropped.jsonl"


class DroppedRows:
    """The file, open for writing. Raises EnvironmentFault if the disk refuses."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / DROPPED
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        with disk_faults(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self._path, "w", encoding="utf-8")  # closed in __exit__
        return self

    def __exit__(self, *exception: object) -> None:
        assert self._file is not None
        with disk_faults(self._path):
            self._file.close()

    def write(
        self,
        stage: Stage,
        reason: str,
        origin: str,
        *,
        split: SplitName | None = None,
        is_kept: bool = False,
        tokens: int | None = None,
        trained_tokens: int | None = None,
        **more: str | float | int | None,
    ) -> None:
        """Note a row that goes; with `is_kept`, one that stays and loses tokens."""
        assert self._file is not None, "the file is open"
        entry: dict[str, object] = {"stage": stage, "reason": reason, "origin": origin, "is_kept": is_kept}
        optional = {"split": split, "tokens": tokens, "trained_tokens": trained_tokens, **more}
        entry |= {name: value for name, value in optional.items() if value is not None}
        with disk_faults(self._path):
            self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
