"""A run has a name of its own, one writer at a time, and `latest` points to a run that is there."""

import errno
import json
import os
import signal
import socket
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.floor import rundir
from luthier.floor.errors import EnvironmentFault, UsageError
from luthier.floor.rundir import (
    NAME_FORMAT,
    RunDir,
    create_run,
    is_locked,
    list_runs,
    lock_run,
    newest_finished_run,
    open_run,
)

NOON = datetime(2026, 11, 24, 12, 0, 0)
EVENING = datetime(2026, 11, 24, 18, 0, 0)


def finish(run: RunDir) -> RunDir:
    """A run with the report that means that training is done."""
    run.report("train").parent.mkdir()
    run.report("train").write_text("{}")
    return run


def in_child(work: Callable[[], object]) -> int:
    """Do something in a process of its own; how it ended, minus the signal if one did."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_new_run_is_named_by_its_second_and_is_the_latest(tmp_path: Path) -> None:
    run = create_run(tmp_path / "outputs" / "runs", now=NOON)
    assert run.path == tmp_path / "outputs" / "runs" / "2026-11-24_12-00-00"
    assert run.logs.is_dir()
    assert os.readlink(run.path.parent / "latest") == run.name
    assert not run.is_finished


def test_two_runs_of_one_second_have_names_and_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = create_run(tmp_path, now=NOON)
    (first.path / "kept").write_text("of the first")
    waits: list[float] = []
    monkeypatch.setattr(rundir.time, "sleep", waits.append)
    second = create_run(tmp_path, now=NOON)
    assert waits
    assert second.path != first.path
    assert os.listdir(second.path) == ["logs"]
    assert os.readlink(tmp_path / "latest") == second.name
    assert [run.name for run in list_runs(tmp_path)] == sorted([first.name, second.name])


@given(st.lists(st.datetimes(datetime(1970, 1, 1), datetime(2999, 1, 1)), min_size=2))
def test_names_sort_as_the_times_do(times: list[datetime]) -> None:
    names = [time.strftime(NAME_FORMAT) for time in sorted(times)]
    assert names == sorted(names)


def test_a_kill_at_any_call_leaves_a_latest_that_points_to_a_run(tmp_path: Path) -> None:
    names = ("mkdir", "symlink", "replace", "fsync")

    def die_at(deaths: int) -> None:
        calls = 0

        def deadly(call: Callable[..., Any]) -> Callable[..., Any]:
            def counted(*arguments: Any, **named: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls == deaths:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*arguments, **named)

            return counted

        for name in names:
            setattr(os, name, deadly(getattr(os, name)))
        create_run(tmp_path, now=EVENING)

    first = create_run(tmp_path, now=NOON)
    for deaths in range(1, 20):
        ended = in_child(lambda death=deaths: die_at(death))  # type: ignore[misc]
        assert open_run("latest", tmp_path).name in (first.name, "2026-11-24_18-00-00")
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
        for run in list_runs(tmp_path)[1:]:
            for folder in (run.logs, run.path):
                if folder.exists():
                    folder.rmdir()
        rundir.replace_symlink(tmp_path / "latest", first.name)
    assert deaths > len(names)


def test_a_folder_that_cannot_be_made_is_a_fault_of_the_machine(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("a file")
    with pytest.raises(EnvironmentFault) as caught:
        create_run(tmp_path / "outputs" / "runs")
    assert caught.value.where == str(tmp_path / "outputs" / "runs")


@pytest.mark.parametrize("as_path", [True, False])
def test_a_run_is_found_by_its_path_its_time_or_as_the_latest(tmp_path: Path, as_path: bool) -> None:
    run = create_run(tmp_path, now=NOON)
    assert open_run(run.path if as_path else run.name, tmp_path) == run
    assert open_run(tmp_path / "latest" if as_path else "latest", tmp_path).path.samefile(run.path)
    assert open_run("latest", tmp_path).name == run.name


def test_a_misspelt_run_is_answered_with_the_nearest(tmp_path: Path) -> None:
    create_run(tmp_path, now=NOON)
    with pytest.raises(UsageError) as caught:
        open_run("2026-11-24_12-00-01", tmp_path)
    assert (caught.value.code, caught.value.exit_code) == ("run-missing", 2)
    assert "2026-11-24_12-00-01" in caught.value.what
    assert "2026-11-24_12-00-00" in caught.value.why
    assert "luthier runs" in caught.value.fix


def test_a_latest_that_points_nowhere_says_where_it_points(tmp_path: Path) -> None:
    run = create_run(tmp_path, now=NOON)
    run.logs.rmdir()
    run.path.rmdir()
    with pytest.raises(
        UsageError, match=r"latest points to 2026-11-24_12-00-00, which is not there"
    ) as caught:
        open_run("latest", tmp_path)
    assert "There is no run" in caught.value.why
    assert create_run(tmp_path, now=EVENING).name == open_run("latest", tmp_path).name


def test_the_newest_finished_run_is_taken_whatever_the_times_of_the_files(tmp_path: Path) -> None:
    first, second, third = (create_run(tmp_path, now=datetime(2026, 11, day)) for day in (1, 2, 3))
    finish(first), finish(second)
    os.utime(first.path, (2e9, 2e9))
    os.utime(second.path, (1e9, 1e9))
    assert newest_finished_run(tmp_path).name == second.name
    finish(third)
    assert newest_finished_run(tmp_path).name == third.name


def test_no_finished_run_is_told_with_the_command_that_continues_the_newest(tmp_path: Path) -> None:
    create_run(tmp_path, now=NOON)
    newest = create_run(tmp_path, now=EVENING)
    with pytest.raises(UsageError) as caught:
        newest_finished_run(tmp_path)
    assert caught.value.code == "run-unfinished"
    assert caught.value.fix.endswith(f"luthier train --resume {newest.path}")


def test_no_run_at_all_is_told_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        newest_finished_run(tmp_path / "runs")
    assert caught.value.code == "run-missing"
    assert "luthier train" in caught.value.fix


def test_links_hidden_folders_and_files_are_no_runs(tmp_path: Path) -> None:
    run = create_run(tmp_path, now=NOON)
    (tmp_path / ".tmp-run").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    assert list_runs(tmp_path) == [run]


def test_a_held_run_is_refused_by_the_process_and_machine_that_hold_it(tmp_path: Path) -> None:
    run = create_run(tmp_path, now=NOON)
    with lock_run(run):
        assert is_locked(run)
        with pytest.raises(UsageError) as caught, lock_run(run):
            pass
    assert (caught.value.code, caught.value.where) == ("run-locked", str(run.path))
    assert f"process {os.getpid()} on {socket.gethostname()}" in caught.value.what
    assert not is_locked(run)


def test_another_process_cannot_take_a_held_run(tmp_path: Path) -> None:
    run = create_run(tmp_path, now=NOON)

    def take() -> None:
        with lock_run(run):
            pass

    with lock_run(run):
        assert in_child(take) == 99
    assert in_child(take) == 0


def test_a_lock_whose_holder_was_killed_is_taken_over(tmp_path: Path) -> None:
    run = create_run(tmp_path, now=NOON)

    def hold_and_die() -> None:
        with lock_run(run):
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(hold_and_die) == -signal.SIGKILL
    dead = json.loads((run.path / ".lock").read_text())["pid"]
    assert not is_locked(run)
    with lock_run(run):
        assert json.loads((run.path / ".lock").read_text())["pid"] == os.getpid() != dead


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}'])
def test_a_lock_that_does_not_name_its_holder_is_a_lock_all_the_same(tmp_path: Path, content: str) -> None:
    run = create_run(tmp_path, now=NOON)
    with lock_run(run):
        (run.path / ".lock").write_text(content)
        with pytest.raises(UsageError, match="another process"), lock_run(run):
            pass


def test_a_run_without_a_lock_is_not_held(tmp_path: Path) -> None:
    assert not is_locked(RunDir(tmp_path))


def test_a_disk_that_cannot_lock_is_told_from_a_held_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(rundir.fcntl, "flock", refused)
    with pytest.raises(EnvironmentFault, match="No locks available"), lock_run(RunDir(tmp_path)):
        pass


def test_locking_leaks_no_handle(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        with lock_run(run), pytest.raises(UsageError), lock_run(run):
            pass
        is_locked(run)
    assert len(os.listdir("/proc/self/fd")) == before
