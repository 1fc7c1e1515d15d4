"""Metrics reach the trackers, and a tracker that fails never stops a training. Offline; those not installed are skipped."""

import importlib.util
import json
import os
import sqlite3
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import pytest

import luthier.config.train
from luthier.floor.errors import EnvironmentFault
from luthier.floor.log import Recorder
from luthier.train.trackers import Destination, Tracker, Trackers, fanout, open_trackers
from luthier.train.trackers.tracker import flatten

RUN_NAME = "2026-11-24_10-30-45"
CONFIG = {"train": {"lr": 1e-4, "seed": 3}, "method": {"targets": ["q_proj"], "revision": None}}
OFFLINE = {
    "WANDB_MODE": "offline",
    "NEPTUNE_MODE": "offline",
    "COMET_START_ONLINE": "0",
    "CLEARML_OFFLINE_MODE": "1",
}


def train_under(name: str, logs: Path, listener: Recorder, *, start: int, end: int) -> None:
    """What a training does with a tracker from step `start` to `end`."""
    trackers = open_trackers(
        [name], logs=logs, project="luthier", run_name=RUN_NAME, config=CONFIG, listener=listener
    )
    trackers.start(start)
    for step in range(start + 10, end + 1, 10):
        trackers.log(step, {"train/loss": 1 / step, "train/lr": 1e-4})
    trackers.text(end, "sample/1", "hello **world**")
    assert trackers.names == (name,), listener.warnings
    trackers.close()
    assert trackers.names == ()
    trackers.close()


def board_scalars(logs: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(logs))
    accumulator.Reload()
    return {
        tag: [(event.step, event.value) for event in accumulator.Scalars(tag)]
        for tag in accumulator.Tags()["scalars"]
    }


def test_tensorboard_shows_what_was_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_under("tensorboard", tmp_path, Recorder(), start=0, end=30)
    scalars = board_scalars(tmp_path)
    assert [step for step, _ in scalars["train/loss"]] == [10, 20, 30]
    assert scalars["train/loss"][2][1] == pytest.approx(1 / 30)
    assert [step for step, _ in scalars["train/lr"]] == [10, 20, 30]
    assert capsys.readouterr().out == ""


def test_tensorboard_keeps_texts_and_the_recipe(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train_under("tensorboard", tmp_path, Recorder(), start=0, end=10)
    accumulator = EventAccumulator(str(tmp_path))
    accumulator.Reload()
    tags = accumulator.Tags()["tensors"]
    texts = {tag: accumulator.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in tags}
    assert texts["sample/1/text_summary"] == "hello **world**"
    assert '"lr": 0.0001' in texts["recipe/text_summary"]


def test_tensorboard_of_a_resumed_run_shows_no_step_twice(tmp_path: Path) -> None:
    """However short the stop: the writer names its files by the second, then by a number that sorts 10 before 9."""
    for earlier in range(0, 40, 10):
        train_under("tensorboard", tmp_path, Recorder(), start=earlier, end=40)
    train_under("tensorboard", tmp_path, Recorder(), start=20, end=50)
    stamps = [path.name.split(".")[3] for path in sorted(tmp_path.glob("events.*"))]
    assert len(stamps) == len(set(stamps)) == 5
    assert [step for step, _ in board_scalars(tmp_path)["train/loss"]] == [10, 20, 30, 40, 50]


def test_tensorboard_can_be_read_while_the_run_goes_on(tmp_path: Path) -> None:
    trackers = open_trackers(
        ["tensorboard"], logs=tmp_path, project="luthier", run_name=RUN_NAME, config={}, listener=Recorder()
    )
    trackers.start(0)
    trackers.log(1, {"train/loss": 2.5})
    assert board_scalars(tmp_path)["train/loss"] == [(1, 2.5)]
    trackers.close()


def offline(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Settle a tracker in this folder and off the network, or skip."""
    if importlib.util.find_spec(fanout.KINDS[name].module) is None:
        pytest.skip(f"{name} is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    for key, value in OFFLINE.items():
        monkeypatch.setenv(key, value)
    logs = tmp_path / "logs"
    logs.mkdir()
    return logs


def test_trackio_keeps_the_numbers_in_its_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logs = offline("trackio", monkeypatch, tmp_path)
    train_under("trackio", logs, Recorder(), start=0, end=20)
    train_under("trackio", logs, Recorder(), start=20, end=40)
    with sqlite3.connect(tmp_path / "trackio" / "luthier.db") as database:
        found = database.execute("select step, metrics from metrics order by id").fetchall()
        runs = database.execute("select distinct run_name from metrics").fetchall()
    entries = [(step, json.loads(metrics)) for step, metrics in found]
    losses = [(step, entry["train/loss"]) for step, entry in entries if "train/loss" in entry]
    assert losses == [(step, 1 / step) for step in (10, 20, 30, 40)]
    assert {"sample/1": "hello **world**"} in [entry for _, entry in entries]
    assert runs == [(RUN_NAME,)]
    assert capsys.readouterr().out == ""


def test_mlflow_keeps_the_numbers_in_the_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = offline("mlflow", monkeypatch, tmp_path)
    train_under("mlflow", logs, Recorder(), start=0, end=20)
    train_under("mlflow", logs, Recorder(), start=20, end=40)
    with sqlite3.connect(logs / "mlflow.db") as database:
        found = database.execute("select step from metrics where key = 'train/loss' order by step").fetchall()
        runs = database.execute("select name from runs").fetchall()
        parameters = dict(database.execute("select key, value from params").fetchall())
    assert [step for (step,) in found] == [10, 20, 30, 40]
    assert runs == [(RUN_NAME,)]
    assert parameters["train.lr"] == "0.0001"


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("wandb", "logs/wandb/offline-run-*"),
        ("aim", "logs/.aim"),
        ("neptune", ".neptune/offline/*"),
        ("comet_ml", "logs/*.zip"),
        ("clearml", ".clearml/cache/offline/*"),
    ],
)
def test_an_offline_tracker_leaves_its_files_here_and_goes_on_after_a_resume(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    left: str,
) -> None:
    logs = offline(name, monkeypatch, tmp_path)
    listener = Recorder()
    train_under(name, logs, listener, start=0, end=20)
    train_under(name, logs, listener, start=20, end=40)
    assert listener.warnings == []
    assert list(tmp_path.glob(left))
    assert capsys.readouterr().out == ""


class Failing:
    """A tracker that raises `fault` once it has logged `good` times; start counts as one."""

    def __init__(self, fault: BaseException, good: int) -> None:
        self.fault, self.good, self.calls = fault, good, 0

    def _call(self) -> None:
        self.calls += 1
        if self.calls > self.good:
            raise self.fault

    def start(self, step: int) -> None:
        self._call()

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._call()

    def text(self, step: int, name: str, text: str) -> None:
        self._call()

    def close(self) -> None:
        self._call()


class Kept:
    """A tracker that remembers its steps."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def start(self, step: int) -> None:
        pass

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.steps.append(step)

    def text(self, step: int, name: str, text: str) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    "fault", [OSError("no space"), RuntimeError("gone"), ValueError("bad"), KeyError("key")]
)
@pytest.mark.parametrize("good", [1, 2, 3, 4])
def test_a_tracker_that_fails_is_dropped_with_one_warning_and_the_rest_go_on(
    fault: Exception, good: int
) -> None:
    failing, kept, listener = Failing(fault, good), Kept(), Recorder()
    trackers = Trackers({"wandb": failing, "mlflow": kept}, listener)
    trackers.start(0)
    for step in (1, 2, 3):
        trackers.log(step, {"train/loss": 1.0})
    trackers.close()
    assert kept.steps == [1, 2, 3]
    assert failing.calls == good + 1
    assert len(listener.warnings) == 1
    assert "the tracker wandb failed and is dropped" in listener.warnings[0]


def test_a_tracker_that_cannot_open_stops_a_new_run_and_only_warns_a_resumed_one() -> None:
    trackers = Trackers({"wandb": Failing(RuntimeError("api_key not configured"), 0)}, Recorder())
    with pytest.raises(EnvironmentFault, match="wandb cannot be opened: api_key not configured") as caught:
        trackers.start(0)
    assert caught.value.exit_code == 5
    listener = Recorder()
    trackers = Trackers({"wandb": Failing(RuntimeError("api_key not configured"), 0)}, listener)
    trackers.start(20)
    assert trackers.names == ()
    assert len(listener.warnings) == 1


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), AssertionError("ours"), MemoryError()])
def test_what_no_tracker_raises_is_not_swallowed(fault: BaseException) -> None:
    trackers = Trackers({"wandb": Failing(fault, 1)}, Recorder())
    trackers.start(0)
    with pytest.raises(type(fault)):
        trackers.log(1, {"train/loss": 1.0})


def test_a_full_disk_under_tensorboard_is_survived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.utils.tensorboard import SummaryWriter

    listener = Recorder()
    trackers = open_trackers(
        ["tensorboard"], logs=tmp_path, project="luthier", run_name=RUN_NAME, config={}, listener=listener
    )
    trackers.start(0)

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SummaryWriter, "flush", refuse)
    trackers.log(1, {"train/loss": 1.0})
    trackers.log(2, {"train/loss": 1.0})
    assert len(listener.warnings) == 1
    assert "No space left on device" in listener.warnings[0]


def test_what_a_tracker_prints_stays_off_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    class Talking(Kept):
        def start(self, step: int) -> None:
            print("welcome to the tracker")  # noqa: T201

    Trackers({"wandb": Talking()}, Recorder()).start(0)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "welcome" in captured.err


def test_telemetry_is_off_while_a_tracker_starts_and_the_environment_is_put_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: dict[str, str | None] = {}

    class Looking(Kept):
        def start(self, step: int) -> None:
            seen.update({key: os.environ.get(key) for key in fanout.QUIET})

    for key in fanout.QUIET:
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("WANDB_SILENT", "false")
    before = dict(os.environ)
    Trackers({"wandb": Looking()}, Recorder()).start(0)
    assert seen == fanout.QUIET | {"WANDB_SILENT": "false"}, "what the person set stays"
    assert dict(os.environ) == before


def test_a_tracker_that_is_not_installed_is_named_with_its_install_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(fanout.KINDS, "neptune", fanout.Kind("no_such_module_anywhere", fanout.Neptune))
    with pytest.raises(EnvironmentFault) as caught:
        open_trackers(
            ["tensorboard", "neptune"],
            logs=tmp_path,
            project="luthier",
            run_name=RUN_NAME,
            config={},
            listener=Recorder(),
        )
    assert caught.value.code == "env-extra"
    assert caught.value.fix == 'Install it: pip install "luthier[neptune]"'


def test_every_tracker_of_the_recipe_can_be_opened_and_has_an_extra() -> None:
    names = set(get_args(luthier.config.train.Tracker))
    assert names == set(fanout.KINDS)
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    extras = {kind.extra or name for name, kind in fanout.KINDS.items() if name != "tensorboard"}
    assert extras <= set(project["optional-dependencies"])
    assert len(extras) == 7
    assert len(names) == 8


def test_trackers_have_the_methods_that_the_loop_calls(tmp_path: Path) -> None:
    destination = Destination(tmp_path, "luthier", RUN_NAME, {})
    methods = [name for name in vars(Tracker) if not name.startswith("_")]
    assert sorted(methods) == ["close", "log", "start", "text"]
    for kind in fanout.KINDS.values():
        tracker = kind.make(destination)
        assert all(callable(getattr(tracker, name)) for name in methods)


def test_a_recipe_is_flattened_to_dotted_plain_values() -> None:
    assert flatten(CONFIG) == {
        "train.lr": 1e-4,
        "train.seed": 3,
        "method.targets": "['q_proj']",
        "method.revision": "None",
    }
