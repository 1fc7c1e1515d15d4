"""The files that earlier exports left in a run: which still stand for the model as it is, and which must go.

A file belongs to the export if its report lists it or it bears a name that the export gives; whatever else lies there is the user's.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

from luthier.reports.gguf import GgufFile, GgufReport


def standing_files(folder: Path, inputs_hash: str) -> tuple[GgufFile, ...]:
    """The files of a report of the same inputs that are still there, whole; found in `folder` wherever the run lies now."""
    report = _report(folder)
    if report is None or report.inputs_hash != inputs_hash:
        return ()
    found = [(file, folder / Path(file.path).name) for file in report.files]
    return tuple(
        file.model_copy(update={"path": str(path)})
        for file, path in found
        if path.is_file() and path.stat().st_size == file.file_bytes
    )


def stale_files(folder: Path, kept: Sequence[GgufFile], *, ours: Collection[str]) -> list[Path]:
    """Files of the export that are none of `kept`; `ours` are the names that it gives."""
    report = _report(folder)
    listed = {Path(file.path).name for file in report.files} if report else set()
    names = (listed | set(ours)) - {Path(file.path).name for file in kept}
    return sorted(path for path in folder.glob("*.gguf") if path.name in names)


def _report(folder: Path) -> GgufReport | None:
    path = folder / "report.json"
    return GgufReport.read(path) if path.is_file() else None
