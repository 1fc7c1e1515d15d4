"""How much memory this process has held at most, and how much it may still take, from the kernel's books."""

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


def available_memory_bytes(
    meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")
) -> int | None:
    """Memory that can be taken without swapping, or what is left of a container's limit if that is less."""
    found = [_from_meminfo(meminfo), _left_of_cgroup(cgroup)]
    known = [value for value in found if value is not None]
    return min(known, default=None)


def _from_meminfo(path: Path) -> int | None:
    for line in _read(path).splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _left_of_cgroup(folder: Path) -> int | None:
    """Version 2 of the interface, then version 1 (docs.kernel.org/admin-guide/cgroup-v2.html, memory.max)."""
    for limit_file, used_file in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        limit, used = _read(folder / limit_file).strip(), _read(folder / used_file).strip()
        if limit.isdigit() and used.isdigit():
            return max(int(limit) - int(used), 0)
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
