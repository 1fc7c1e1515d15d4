"""Whether a file of a model folder lies in that folder, links resolved.

A folder from elsewhere may hold links to files of this machine, and an index may name `../other`. The hub's cache is the one layout
whose links rightly leave the folder: <repository>/snapshots/<commit>/file points to <repository>/blobs/<hash>.
"""

from pathlib import Path


def is_inside(path: Path, folder: Path) -> bool:
    """Whether `path` is, once every link is followed, below `folder` or in the hub cache that `folder` belongs to."""
    target = path.resolve()
    if target.is_relative_to(folder.resolve()):
        return True
    snapshot = folder.absolute()
    return snapshot.parent.name == "snapshots" and target.is_relative_to(
        (snapshot.parent.parent / "blobs").resolve()
    )
