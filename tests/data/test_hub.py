"""A dataset of the hub, read by the real libraries from a stand-in server, and again without it.

The libraries read their settings when they are imported, so each of the two readings is a process of its own.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.data.hub_server import COMMIT, NAME, hub

pytestmark = pytest.mark.slow  # two processes that import `datasets`

READ = """
import json, sys
from pathlib import Path
from luthier.config.data import DataConfig
from luthier.data.sources import find_sources
from luthier.floor.errors import LuthierError
from luthier.floor.log import Silent

answers = []
for request in json.loads(sys.argv[1]):
    try:
        found = find_sources(DataConfig(**request), Silent())
        text = found.train[0].read_text(encoding="utf-8")
        answers.append({"rows": [json.loads(line) for line in text.splitlines()], "unread": found.unread_columns})
    except LuthierError as fault:
        answers.append(fault.as_json()["error"])
print(json.dumps(answers))
"""


def read(
    folder: Path, endpoint: str, *, offline: bool, requests: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """What find_sources gives for each request, in a process that knows only this hub."""
    cache = {"cache_path": str(folder / "cache")}
    environment = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(folder / "home"),
        "HF_HUB_OFFLINE": str(int(offline)),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", READ, json.dumps([cache | request for request in requests])],
        env=os.environ | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


@pytest.fixture(scope="module")
def readings(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The answers with the hub there, and those from the same cache after it has gone."""
    pytest.importorskip("datasets")
    folder = tmp_path_factory.mktemp("hub")
    with hub() as endpoint:
        online = read(
            folder,
            endpoint,
            offline=False,
            requests=[
                {"path": NAME},
                {"path": NAME, "revision": "v1", "hub_split": "test"},
                {"path": NAME, "revision": COMMIT},
                {"path": NAME, "hub_split": "tset"},
                {"path": NAME, "revision": "v2"},
                {"path": NAME, "revision": "f" * 40},
                {"path": "owner/none"},
            ],
        )
    gone = [
        {"path": NAME},
        {"path": NAME, "revision": COMMIT},
        {"path": NAME, "revision": "f" * 40},
        {"path": "owner/none"},
    ]
    return online, read(folder, endpoint, offline=True, requests=gone)


TRAIN = [{"prompt": "p1", "completion": "cé"}, {"prompt": "p2", "completion": "c2"}]


def test_the_rows_of_a_split_arrive_with_the_columns_that_a_format_uses(readings: Any) -> None:
    newest, tagged, exact = readings[0][:3]
    assert newest == exact == {"rows": TRAIN, "unread": {"id": 2}}
    assert tagged == {"rows": [{"prompt": "p3", "completion": "c3"}], "unread": {"id": 1}}


def test_a_split_that_is_not_there_is_answered_with_those_that_are(readings: Any) -> None:
    fault = readings[0][3]
    assert (fault["code"], fault["exit_code"]) == ("data-hub", 3)
    assert "'train', 'test'" in fault["what"]
    assert "data.hub_split" in fault["fix"]


@pytest.mark.parametrize("number, revision", [(4, "v2"), (5, "f" * 40)])
def test_a_revision_that_is_not_there_is_never_replaced_by_one_read_before(
    readings: Any, number: int, revision: str
) -> None:
    fault = readings[0][number]
    assert fault["code"] == "data-hub"
    assert revision in fault["what"]


def test_a_dataset_that_is_not_there_is_named(readings: Any) -> None:
    assert "owner/none" in readings[0][6]["what"]
    assert readings[0][6]["where"] == "owner/none (train)"


def test_what_was_read_once_is_there_without_a_network(readings: Any) -> None:
    newest, exact, other, unknown = readings[1]
    assert newest == exact == {"rows": TRAIN, "unread": {"id": 2}}
    assert other["code"] == unknown["code"] == "data-hub"
