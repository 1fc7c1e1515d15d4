"""How much memory this process has held at most, from the kernel's books."""

import resource
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def peak_resident_bytes() -> int:
    """The most memory that this process had resident since its program started, children left out.

    `getrusage` alone does not do on Linux: a process begins with the peak of the one that started it and keeps it over `exec`, so
    that a small program started from a notebook of 2 GiB would own to 2 GiB. `VmHWM` belongs to the program's own address space.
    """
    try:
        with STATUS.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass  # no /proc: a Mac, or a container that hides it
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
