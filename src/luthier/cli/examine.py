"""Look at the machine and the installation, one finding a fact; changes nothing.

torch is asked through modelling/, and only versions are read of everything else: nothing heavy is imported for its own sake.
"""

import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import luthier
from luthier.floor.errors import LuthierError
from luthier.floor.files import free_bytes
from luthier.floor.memory import available_memory_bytes
from luthier.floor.nvidia import first_nvidia_gpu
from luthier.floor.rundir import RUNS
from luthier.floor.units import format_bytes

LEAST_PYTHON = (3, 11)
GIB = 2**30
# The demo needs at most 2 GiB of memory and a few MiB of disk; a 0.5 B model in fp32 with its optimizer takes about 4 GiB.
LITTLE_MEMORY_BYTES = 2 * GIB
LITTLE_DISK_BYTES = 2 * GIB
NO_DISK_BYTES = GIB // 10
OPTIONAL = ("dev",)  # not an extra that a user chooses

State = Literal["ok", "note", "bad"]


@dataclass(frozen=True)
class Finding:
    """One fact; `bad` stops work, a `note` limits it."""

    name: str
    state: State
    text: str
    fix: str = ""

    def as_json(self) -> dict[str, str]:
        """The same for `--json`."""
        return asdict(self)


def examine() -> list[Finding]:
    """Everything worth knowing about this machine, in the order in which trouble is looked for."""
    return [
        look_at_python(),
        Finding("luthier", "ok", metadata.version("luthier")),
        *look_at_torch(),
        look_at_memory(),
        look_at_disk(),
        look_at_permission(),
        look_at_packages(),
        look_at_pins(),
        look_at_hub(),
        look_at_embedded_base(),
        *look_at_extras(),
    ]


def look_at_python() -> Finding:
    """The interpreter, its machine and its cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {cores} cores"
    if sys.version_info < LEAST_PYTHON:
        return Finding(
            "python", "bad", text, "Install Python 3.11 or later, then: make venv PYTHON=python3.11"
        )
    return Finding("python", "ok", text)


def look_at_torch() -> Iterator[Finding]:
    """The build of torch, and the device and number format that `auto` would choose."""
    try:
        from luthier.modelling.device import choose_device, choose_precision, describe_device
    except (ImportError, OSError) as fault:  # OSError: a shared library of torch that is missing or broken
        yield Finding("torch", "bad", f"cannot be loaded: {fault}", "Install it: make install")
        return
    device = choose_device("auto")
    precision = choose_precision("auto", device).name
    gpu = first_nvidia_gpu()
    yield Finding("torch", "ok", metadata.version("torch"))
    if gpu and device.type == "cpu":
        yield Finding(
            "device",
            "note",
            f"{describe_device(device)}, {precision}; but there is {gpu.name}, which this build of torch does not see",
            "Install a CUDA build: make install TORCH_INDEX=https://download.pytorch.org/whl/cu130",
        )
    else:
        yield Finding("device", "ok", f"{describe_device(device)}, {precision}")


def look_at_memory() -> Finding:
    """What this process may still take."""
    free = available_memory_bytes()
    if free is None:
        return Finding("memory", "note", "unknown")
    if free < LITTLE_MEMORY_BYTES:
        return Finding(
            "memory",
            "note",
            f"{format_bytes(free)} available",
            "The demo takes up to 2 GiB: close something.",
        )
    return Finding("memory", "ok", f"{format_bytes(free)} available")


def look_at_disk() -> Finding:
    """Room where runs are written."""
    free = free_bytes(RUNS.absolute())
    text = f"{format_bytes(free)} free for {RUNS}"
    if free < NO_DISK_BYTES:
        return Finding("disk", "bad", text, "Make room, or work in another folder.")
    if free < LITTLE_DISK_BYTES:
        return Finding("disk", "note", text, "Checkpoints of larger models will not fit.")
    return Finding("disk", "ok", text)


def look_at_permission() -> Finding:
    """Whether runs can be written here."""
    folder = RUNS.absolute()
    while not folder.exists():
        folder = folder.parent
    if os.access(folder, os.W_OK | os.X_OK):
        return Finding("permission", "ok", f"may write to {folder}")
    return Finding(
        "permission", "bad", f"may not write to {folder}", f"Work in a folder of yours: ls -ld {folder}"
    )


def look_at_packages() -> Finding:
    """Whether every package that Luthier needs is there, in a version that was seen to work."""
    needed = [Requirement(text) for text in metadata.requires("luthier") or ()]
    plain = [need for need in needed if "extra" not in str(need.marker or "")]
    wrong = [text for need in plain if (text := _what_is_wrong(need))]
    if wrong:
        return Finding(
            "packages", "bad", "; ".join(wrong), "Install them: make install, or pip install luthier"
        )
    return Finding("packages", "ok", f"{len(plain)} needed, all there, all in range")


def _what_is_wrong(need: Requirement) -> str:
    found = version_of(need.name)
    if found is None:
        return f"{need.name} is missing"
    if not need.specifier.contains(found, prereleases=True):
        return f"{need.name} {found} is not {need.specifier}"
    return ""


def look_at_pins() -> Finding:
    """How far the installed versions are from constraints.txt, which a checkout has beside it."""
    package = luthier.__file__
    assert package is not None, "luthier is a package with an __init__.py"
    path = Path(package).parents[2] / "constraints.txt"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    pins = [line.partition("==") for line in text.splitlines() if "==" in line and line[0] != "#"]
    if not pins:
        return Finding("pins", "ok", "no constraints.txt here")
    different = []
    for name, _, pinned in pins:
        found = version_of(name)
        if found is not None and found.partition("+")[0] != pinned.strip():
            different.append(f"{canonicalize_name(name)} {found} instead of {pinned.strip()}")
    if different:
        text = f"{len(different)} of {len(pins)} differ from constraints.txt: {', '.join(different[:5])}"
        return Finding("pins", "note", text, "Install the pinned set: make install")
    return Finding("pins", "ok", f"as constraints.txt says, {len(pins)} versions")


def look_at_hub() -> Finding:
    """Whether models can be asked for at the Hugging Face hub; the token itself is never shown."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return Finding(
            "hub", "note", "HF_HUB_OFFLINE is set: models and datasets come from this machine only"
        )
    token = "a token is set" if os.environ.get("HF_TOKEN") else "no HF_TOKEN"
    return Finding("hub", "ok", f"{os.environ.get('HF_ENDPOINT', 'https://huggingface.co')}, {token}")


def look_at_embedded_base() -> Finding:
    """Whether the small base model that ships with Luthier is there and sound."""
    from luthier.floor.units import format_count
    from luthier.knowledge.model_folder import check_model_folder, find_model

    try:
        facts = check_model_folder(find_model("embedded"))
    except LuthierError as fault:
        return Finding("embedded base", "note", fault.what, fault.fix)
    return Finding("embedded base", "ok", f"{format_count(facts.parameters)} parameters, {facts.dtype}")


def look_at_extras() -> Iterator[Finding]:
    """Every optional part, with the line that installs it."""
    needed = [Requirement(text) for text in metadata.requires("luthier") or ()]
    for extra in metadata.metadata("luthier").get_all("Provides-Extra") or ():
        if extra in OPTIONAL:
            continue
        parts = [need for need in needed if need.marker and need.marker.evaluate({"extra": extra})]
        wrong = [
            text
            for need in parts
            if need.marker and "extra" in str(need.marker) and (text := _what_is_wrong(need))
        ]
        if wrong:
            yield Finding(f"extra {extra}", "note", "; ".join(wrong), f'pip install "luthier[{extra}]"')
        else:
            versions = [
                f"{need.name} {version_of(need.name)}" for need in parts if "extra" in str(need.marker)
            ]
            yield Finding(f"extra {extra}", "ok", ", ".join(versions))


def version_of(package: str) -> str | None:
    """The installed version, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
