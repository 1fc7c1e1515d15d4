"""One finished run and one hub for the tests of publishing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier.config.recipe import Recipe
from luthier.floor.rundir import RunDir
from tests.publish.hub import Site, hub_site
from tests.publish.published_run import at_site, make_run


@pytest.fixture(scope="session")
def run(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, RunDir]:
    """Recipe and run. Shared: what a test changes in it, it changes in a copy."""
    return make_run(tmp_path_factory.mktemp("publish"), tiny_base)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A hub, and huggingface_hub in this process speaking to it."""
    with hub_site() as found:
        at_site(monkeypatch, found)
        yield found
