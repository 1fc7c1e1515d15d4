"""Find the files that a data path and a pattern name, and refuse what is no file of rows."""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from luthier.floor.errors import DataError, EnvironmentFault
from luthier.floor.log import Listener
from luthier.floor.lookup import nearest
from luthier.text.readers.endings import ENDINGS, ending_of, holds_rows

# Regular files by their looks, whose content is the machine's and not the user's.
SYSTEM_FOLDERS = (Path("/proc"), Path("/sys"))
# What is read of a folder if nobody says otherwise: the default of data.pattern.
ROW_PATTERN = "*.jsonl"


def find_files(path: Path, pattern: str = ROW_PATTERN, *, by_recipe: bool = True) -> list[Path]:
    """The files to read, sorted by name: `path` itself, or the files of the folder that match `pattern`.

    A folder without JSON lines, whose files of rows are all of one other format, is read without a pattern for it.
    `by_recipe` tells whether a recipe's data section named them, or the command line: a fault speaks of the one or the other.
    Raises DataError: data-missing if nothing is there, data-path for a device, a pipe or a pattern that leaves the folder.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as fault:
        raise _missing(path, by_recipe=by_recipe) from fault
    except OSError as fault:
        raise EnvironmentFault(
            "env-permission", f"cannot look at {path}: {fault.strerror}", where=str(path)
        ) from fault
    if not stat.S_ISDIR(mode):
        _check_file(path, mode)
        return [path]
    if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
        raise DataError(
            "data-path", f"the pattern {pattern!r} leaves the folder {path}", where="data.pattern"
        )
    found = sorted(file for file in path.glob(pattern) if not file.is_dir())
    others = _files_by_ending(path) if not found and pattern == ROW_PATTERN else {}
    if len({ENDINGS[ending] for ending in others}) == 1:
        found = sorted(file for files in others.values() for file in files)
    if not found:
        raise _no_match(path, pattern, by_recipe=by_recipe)
    for file in found:
        if not file.exists():
            raise _missing(file, by_recipe=by_recipe)
        _check_file(file, file.stat().st_mode)
    return found


def find_row_files(path: Path, *, by_recipe: bool = True) -> list[Path]:
    """A file as it is named, or all files of a folder whose names end as those of rows do, whatever their formats.

    For sets that rows are compared with: a file passed over there would be a leak that nobody sees. Raises DataError as
    `find_files`, and data-missing for a folder without rows.
    """
    files = find_files(path, "*", by_recipe=by_recipe)
    found = [file for file in files if file == path or holds_rows(file)]
    if not found:
        what = f"no file in {path} has a name that ends as those of rows do"
        fix = _how_to_name(path, by_recipe=by_recipe)
        raise DataError("data-missing", what, where="data.leaks" if by_recipe else str(path), fix=fix)
    return found


def warn_of_files_passed_over(path: Path, listener: Listener, pattern: str = ROW_PATTERN) -> None:
    """Say which files of rows a folder holds beside its JSON lines. They are read only when someone asks for them by name or pattern."""
    if pattern != ROW_PATTERN or not path.is_dir():
        return
    read = set(find_files(path))
    others = [file.name for files in _files_by_ending(path).values() for file in files if file not in read]
    if others:
        shown = ", ".join(others[:5]) + (f" and {len(others) - 5:,} more" if len(others) > 5 else "")
        listener.warn(f"{path} is read for its {pattern}; its other files of rows are not read: {shown}")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn the system's refusals to read `path` into DataError where it is gone, EnvironmentFault otherwise."""
    try:
        yield
    except FileNotFoundError as fault:
        raise DataError("data-missing", f"the file {path} is gone", where=str(path)) from fault
    except PermissionError as fault:
        fix = f"Make it readable: chmod u+r {path}"
        raise EnvironmentFault("env-permission", f"may not read {path}", where=str(path), fix=fix) from fault
    except OSError as fault:
        what = f"cannot read {path}: {fault.strerror or fault}"
        raise EnvironmentFault("env-disk", what, where=str(path)) from fault


def _check_file(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise DataError(
            "data-path", f"{path} is no regular file", where=str(path), fix="Name a file or a folder."
        )
    if any(folder in path.resolve().parents for folder in SYSTEM_FOLDERS):
        raise DataError("data-path", f"{path} belongs to the system and holds no rows", where=str(path))


def _missing(path: Path, *, by_recipe: bool) -> DataError:
    folder = path.parent
    near = nearest(path.name, [other.name for other in folder.iterdir()]) if folder.is_dir() else []
    hint = f"; did you mean {folder / near[0]}?" if near else ""
    fix = f"{'Set data.path to' if by_recipe else 'Name'} a JSONL file or a folder of them."
    where = "data.path" if by_recipe else str(path)
    return DataError("data-missing", f"there is no {path}{hint}", where=where, fix=fix)


def _files_by_ending(folder: Path) -> dict[str, list[Path]]:
    """The files of rows that lie in a folder, by the ending that says their format."""
    found: dict[str, list[Path]] = {}
    for file in sorted(folder.iterdir()):
        if holds_rows(file) and not file.is_dir():
            found.setdefault(ending_of(file), []).append(file)
    return found


def _no_match(path: Path, pattern: str, *, by_recipe: bool) -> DataError:
    there = sorted(file.name for file in path.iterdir())
    shown = (
        f"The folder holds: {', '.join(there[:8])}{' ...' if len(there) > 8 else ''}"
        if there
        else "It is empty."
    )
    return DataError(
        "data-missing",
        f"no file in {path} matches {pattern!r}",
        where="data.pattern" if by_recipe else str(path),
        why=shown,
        fix=_how_to_name(path, by_recipe=by_recipe),
    )


def _how_to_name(path: Path, *, by_recipe: bool) -> str:
    """What to type for the files that are there, in the folder or in those below it."""
    endings = [f"*{ending}*" for ending in _files_by_ending(path)]
    if not endings:
        below = {
            ending
            for folder in sorted(path.iterdir())
            if folder.is_dir()
            for ending in _files_by_ending(folder)
        }
        endings = [f"*/*{ending}*" for ending in sorted(below)]
    if not endings:
        return (
            "Set data.pattern or data.path."
            if by_recipe
            else "Name a file, or a folder that holds such files."
        )
    named = [f"'data.pattern={each}'" if by_recipe else f"{path}/{each}" for each in endings[:4]]
    return f"Say which files to read: {' or '.join(named)}"
