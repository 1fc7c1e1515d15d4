"""A preparation that was killed goes on from what it had tokenized, and makes the very same tokens."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from luthier.data.cache import STALE_SECONDS, journal_beside
from luthier.data.stage import prepare
from luthier.floor.errors import DataError, SavedAndStopped
from luthier.floor.log import Silent
from luthier.floor.stop import StopFlag
from tests.data.preparing import make_recipe, make_run, store_of, write_rows

DRIVER = """
import sys
from pathlib import Path
from luthier.data.stage import prepare
from tests.data.preparing import make_recipe, make_run
base, folder = map(Path, sys.argv[1:])
prepare(make_recipe(base, folder, max_length=4096), make_run(folder))
"""


class Sayings(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.mark.slow
def test_a_killed_preparation_goes_on_and_makes_the_same_tokens(tiny_base: Path, tmp_path: Path) -> None:
    rows = [{"text": f"{number} " + f"word{number % 97} of many " * 60} for number in range(10_000)]
    write_rows(tmp_path / "data" / "rows.jsonl", rows)
    child = subprocess.Popen([sys.executable, "-c", DRIVER, str(tiny_base), str(tmp_path)])
    ends = time.monotonic() + 120
    while len(list((tmp_path / "cache").glob(".*.journal/*/[0-9a-f]*"))) < 1:
        assert child.poll() is None, "it was done before it could be killed"
        assert time.monotonic() < ends
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()

    listener = Sayings()
    recipe = make_recipe(tiny_base, tmp_path, max_length=4096)
    report = prepare(recipe, make_run(tmp_path), listener=listener)
    assert any("went on with" in text for text in listener.said), listener.said
    assert list((tmp_path / "cache").glob(".*.journal")) == []

    other = make_recipe(tiny_base, tmp_path, max_length=4096, cache_path=str(tmp_path / "other"))
    judge = prepare(other, make_run(tmp_path, "judge"))
    assert report.train.fingerprint == judge.train.fingerprint
    assert report.ledger == judge.ledger
    store_of(report).verify()


def test_a_stop_says_that_work_is_kept(tiny_base: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "rows.jsonl", [{"text": "some words"}] * 20)
    stop = StopFlag()
    stop.set(signal.SIGTERM)
    with pytest.raises(SavedAndStopped, match="of what it had tokenized") as caught:
        prepare(make_recipe(tiny_base, tmp_path), make_run(tmp_path), stop=stop)
    assert "Repeat the command" in caught.value.fix


def test_a_journal_stays_after_a_stop_and_goes_with_the_end_of_the_work(tmp_path: Path) -> None:
    def work(fault: Exception | None = None) -> None:
        with journal_beside(tmp_path / "key") as journal:
            journal.mkdir(exist_ok=True)
            if fault:
                raise fault

    with pytest.raises(SavedAndStopped):
        work(SavedAndStopped("saved", "stopped"))
    assert (tmp_path / ".key.journal").exists()
    with pytest.raises(DataError):
        work(DataError("data-field", "a broken row"))
    assert not (tmp_path / ".key.journal").exists()
    work()
    assert list(tmp_path.iterdir()) == []


def test_journals_that_nobody_came_back_to_are_removed(tmp_path: Path) -> None:
    old, young = tmp_path / ".old.journal", tmp_path / ".young.journal"
    old.mkdir()
    young.mkdir()
    before = time.time() - STALE_SECONDS - 60
    os.utime(old, (before, before))
    with journal_beside(tmp_path / "key"):
        pass
    assert (old.exists(), young.exists()) == (False, True)
