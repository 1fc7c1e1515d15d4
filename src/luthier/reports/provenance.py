"""Where a result comes from: versions, hardware, commit. Never an environment variable or a token."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from pydantic import BaseModel, ConfigDict

PACKAGES = ("luthier", "torch", "transformers", "peft", "tokenizers", "safetensors", "numpy", "bitsandbytes")


class Provenance(BaseModel):
    """Facts of the moment a stage ran."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    python: str
    platform: str
    cpu_count: int
    packages: dict[str, str]
    git_commit: str | None
    device: str | None = None


def gather_provenance(*, device: str | None = None) -> Provenance:
    """The facts of this process; reads package metadata, imports nothing heavy."""
    return Provenance(
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        cpu_count=os.cpu_count() or 1,
        packages=package_versions(),
        git_commit=_git_commit(Path.cwd()),
        device=device,
    )


def package_versions() -> dict[str, str]:
    """The versions of the packages that decide a result, of those that are installed."""
    return {name: version for name in PACKAGES if (version := _version(name))}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_commit(folder: Path) -> str | None:
    """The commit of the user's folder, or None where it is no repository."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None
