"""Recognise the machine's refusals that no stage caught: memory, disk, permission.

They are nobody's programming mistake, so they get a message and a code of their own instead of a traceback.
"""

import errno
import os
from pathlib import Path

from luthier.floor.errors import EnvironmentFault, LuthierError
from luthier.floor.files import disk_fault

DISK_ERRORS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
)
# torch's words when the allocator of a CPU or a GPU has nothing left; its class cannot be named without importing torch.
MEMORY_WORDS = ("can't allocate memory", "CUDA out of memory", "not enough memory")


def as_user_fault(fault: Exception) -> LuthierError | None:
    """The error to show for a refusal of the machine, or None for anything else."""
    if isinstance(fault, MemoryError) or any(word in str(fault) for word in MEMORY_WORDS):
        return EnvironmentFault(
            "env-memory",
            f"memory ran out: {str(fault).splitlines()[0] if str(fault) else type(fault).__name__}",
            why="What was saved before is untouched.",
            fix="Use less: train.batch_size=1, train.gradient_checkpointing=true, or data.max_length=256",
        )
    if isinstance(fault, FileNotFoundError) and not _is_somewhere():
        return EnvironmentFault(
            "env-disk",
            "the folder that this command was started in is gone",
            where="the working folder",
            fix="Go to a folder that is there: cd",
        )
    if isinstance(fault, OSError) and fault.errno in DISK_ERRORS:
        return disk_fault(Path(str(fault.filename or ".")), fault)
    return None


def _is_somewhere() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True
