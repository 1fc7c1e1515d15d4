"""One finished run and one hub for the tests of publishing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier.config.recipe import Recipe
from luthier.floor.rundir import RunDir
from tests.publish.hub import Site, hub_site
from tests.publish.published_run import at_site, copied, make_run


@pytest.fixture(scope="session")
def made_run(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, RunDir]:
    """Recipe and run, as training left it."""
    return make_run(tmp_path_factory.mktemp("made"), tiny_base)


@pytest.fixture
def run(made_run: tuple[Recipe, RunDir], tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, RunDir]:
    """A copy for this test: what was published once is found again, so no two tests may share it."""
    return copied(made_run, tmp_path_factory.mktemp("publish"))


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A hub, and huggingface_hub in this process speaking to it."""
    with hub_site() as found:
        at_site(monkeypatch, found)
        yield found
