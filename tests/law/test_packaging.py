"""What pyproject.toml promises: pins inside the ranges, extras that exist, data files that are shipped."""

import tomllib

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
