"""One process that forks trainings, shared by the tests of a worker."""

from collections.abc import Iterator

import pytest

from tests.whole.train_driver import TrainDriver


@pytest.fixture(scope="session")
def trainings() -> Iterator[TrainDriver]:
    driver = TrainDriver()
    yield driver
    driver.close()
