"""What pyproject.toml promises: pins inside the ranges, extras that exist, data files that are shipped."""

import hashlib
import json
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from luthier.config.train import Tracker
from tests.law.source import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
# The trackers that come with the package, and those whose extra has another name.
BUILT_IN = {"tensorboard"}
EXTRA_OF = {"comet_ml": "comet"}


def pins() -> dict[str, str]:
    """constraints.txt as names and versions."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {str(canonicalize_name(name)): version for name, version in pairs}


def test_every_pin_is_one_exact_public_version() -> None:
    found = pins()
    assert len(found) > 60
    assert [
        version for version in found.values() if not version.replace(".", "").replace("post", "").isalnum()
    ] == []


@pytest.mark.parametrize(
    "text",
    [*PROJECT["dependencies"], *EXTRAS["dev"][1:], *EXTRAS["qlora"], *EXTRAS["datasets"], *EXTRAS["trackio"]],
)
def test_a_requirement_is_pinned_inside_its_range(text: str) -> None:
    need = Requirement(text)
    version = pins()[canonicalize_name(need.name)]
    assert need.specifier.contains(version), f"{need} against {version}"


def test_every_tracker_has_an_extra() -> None:
    trackers = {EXTRA_OF.get(name, name) for name in Tracker.__args__} - BUILT_IN  # type: ignore[attr-defined]
    assert trackers <= set(EXTRAS)


def test_the_embedded_base_is_shipped_from_the_one_place_where_it_lies() -> None:
    link = ROOT / "src" / "luthier" / "assets"
    assert link.is_symlink()
    assert link.resolve() == ROOT / "assets"


@pytest.mark.slow
def test_the_wheel_holds_the_weights_and_everything_else_that_is_no_code(tmp_path: Path) -> None:
    copy = tmp_path / "luthier"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "assets", copy / "assets")
    ignored = shutil.ignore_patterns("*.egg-info", "__pycache__")
    shutil.copytree(ROOT / "src", copy / "src", symlinks=True, ignore=ignored)
    # Without isolation and dependencies pip asks no index.
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*pip, "--wheel-dir", "dist", "."], cwd=copy, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = (copy / "dist").glob("luthier-*.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
        base = "luthier/assets/embedded-base"
        facts = json.loads(packed.read(f"{base}/facts.json"))
        found = {name: hashlib.sha256(packed.read(f"{base}/{name}")).hexdigest() for name in facts["files"]}
    assert found == {name: file["sha256"] for name, file in facts["files"].items()}
    assert "model.safetensors" in found
    package = ROOT / "src" / "luthier"
    others = [
        path
        for path in package.rglob("*")
        if path.is_file() and path.suffix in (".yaml", ".html", ".css", ".js")
    ]
    needed = {f"luthier/{path.relative_to(package).as_posix()}" for path in others}
    assert needed - names == set()
    assert f"{base}/README.md" in names
    assert "luthier/py.typed" in names
