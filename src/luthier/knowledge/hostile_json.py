"""Read a small JSON object from a folder that someone else made.

Bounded before it is parsed, never through a link that leaves the folder, and every fault names the file and, where known, the line.
"""

import json
from pathlib import Path
from typing import Any

from luthier.floor.errors import ModelError
from luthier.floor.units import format_bytes
from luthier.knowledge.containment import is_inside

# The largest configuration among published models is some 200 KB (long id2label tables).
MOST_BYTES = 4 * 2**20


def read_object(path: Path, folder: Path, *, code: str, most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """The object in `path`, a file of `folder` of at most `most_bytes`.

    Raises ModelError with the fault word `code`, or mdl-path if the file is a link out of the folder.
    """
    if not is_inside(path, folder):
        raise ModelError(
            "mdl-path",
            f"{path.name} is a link to {path.resolve()}, outside the folder",
            where=str(path),
            fix="Replace the link by the file it stands for.",
        )
    count = path.stat().st_size
    if count > most_bytes:
        raise _broken(
            code,
            path,
            f"is {format_bytes(count)}; no file of this kind needs more than {format_bytes(most_bytes)}",
        )
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as fault:
        raise _broken(code, path, f"is not UTF-8 (byte {fault.start})") from fault
    except json.JSONDecodeError as fault:
        raise _broken(code, path, f"is not JSON: {fault.msg}", line=fault.lineno) from fault
    except (RecursionError, ValueError) as fault:
        raise _broken(code, path, "is nested or written as no configuration is") from fault
    if not isinstance(value, dict):
        raise _broken(code, path, f"holds a {type(value).__name__}, not an object")
    return value


def _broken(code: str, path: Path, what: str, *, line: int | None = None) -> ModelError:
    return ModelError(
        code,
        f"{path.name} {what}",
        where=f"{path}:{line}" if line else str(path),
        fix="Take the file again from where it was published.",
    )
