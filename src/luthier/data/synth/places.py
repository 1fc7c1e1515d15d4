"""The files of a synthesis: what is read is one regular file each, what is written lies beside the rows.

Journal and ledger have endings that no pattern of rows matches: they may lie in a folder that is trained on.
"""

from dataclasses import dataclass
from pathlib import Path

from luthier.floor.errors import UsageError
from luthier.text.row_files import find_files


@dataclass(frozen=True)
class Places:
    """The names, all made from that of the rows."""

    rows: Path

    @property
    def journal(self) -> Path:
        """Every answer as it came, one JSON line each; what a repeated command goes on from."""
        return self._beside(".journal")

    @property
    def dropped(self) -> Path:
        """What became no row and why, one JSON line each."""
        return self._beside(".dropped")

    @property
    def report(self) -> Path:
        """The books."""
        return self._beside(".report.json")

    def _beside(self, ending: str) -> Path:
        return self.rows.with_name(self.rows.name.removesuffix(".jsonl") + ending)


def one_file(path: Path, flag: str) -> Path:
    """The file, which must be a regular one. Raises UsageError for a folder, DataError if there is none."""
    if path.is_dir():
        raise UsageError("usage", f"{path} is a folder", where=flag, fix="Name one file.")
    (file,) = find_files(path, "*", by_recipe=False)
    return file
