"""A reader sees the old file or the new one, never half of one, whatever the disk refuses."""

import errno
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.floor import files
from luthier.floor.errors import EnvironmentFault
from luthier.floor.files import (
    disk_fault,
    free_bytes,
    free_room,
    publish_folder,
    read_json,
    replace_symlink,
    sha256_of,
    write_json,
    write_text,
)

WRITERS: list[Callable[[Path], None]] = [
    lambda path: write_text(path, "new"),
    lambda path: write_json(path, "new"),
]


def refuse(number: int) -> Callable[..., Any]:
    """A call of the operating system that fails with this errno."""

    def refused(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return refused


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The order of what reaches the disk: which call, about which name."""
    seen: list[tuple[str, str]] = []

    def recorded(name: str) -> Callable[..., Any]:
        honest = getattr(os, name)

        def call(target: Any, *rest: Any, **named: Any) -> Any:
            path = os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else str(target)
            seen.append((name, Path(path).name))
            return honest(target, *rest, **named)

        return call

    for name in ("fsync", "replace", "rename"):
        monkeypatch.setattr(os, name, recorded(name))
    return seen


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "round" / "value.json"
    write_json(path, {"text": text})
    assert read_json(path) == {"text": text}


def test_a_file_is_synced_under_a_temporary_name_beside_it_before_it_gets_its_own(
    tmp_path: Path, calls: list[tuple[str, str]]
) -> None:
    write_text(tmp_path / "deep" / "report.json", "new")
    temporary = f".tmp-report.json-{os.getpid()}"
    assert calls == [("fsync", temporary), ("replace", temporary), ("fsync", "deep")]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["report.json"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EXDEV, errno.EDQUOT])
def test_a_refusal_at_any_call_keeps_the_old_file_and_leaves_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    path = tmp_path / "report.json"
    write_text(path, "old")
    monkeypatch.setattr(files.os, call, refuse(number))
    for write in WRITERS:
        with pytest.raises(EnvironmentFault) as caught:
            write(path)
        assert (caught.value.code, caught.value.exit_code) == ("env-disk", 5)
        assert os.strerror(number) in caught.value.what
        assert caught.value.where == str(path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["report.json"]


@pytest.mark.parametrize("text", ["\ud800", "fine"])
def test_what_is_no_fault_of_the_disk_leaves_nothing_beside_it_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    if text == "fine":
        monkeypatch.setattr(files.os, "fsync", interrupted)
    with pytest.raises((UnicodeEncodeError, KeyboardInterrupt)):
        write_text(tmp_path / "report.json", text)
    assert os.listdir(tmp_path) == []


def test_numbers_that_no_other_reader_takes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "value.json", float("nan"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_folder_that_may_not_be_written_is_a_matter_of_permission(number: int) -> None:
    fault = disk_fault(Path("/runs/a/report.json"), OSError(number, os.strerror(number)))
    assert fault.code == "env-permission"
    assert "ls -ld /runs/a" in fault.fix


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(EnvironmentFault) as caught:
        write_text(tmp_path / "report.json", "new")
    tmp_path.chmod(0o755)
    assert caught.value.code == "env-permission"


def test_too_many_open_files_are_told_from_a_full_disk(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        with pytest.raises(EnvironmentFault) as caught:
            write_text(tmp_path / "report.json", "new")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert "Too many open files" in caught.value.what
    assert "ulimit -n" in caught.value.fix
    assert "room" not in caught.value.fix
    assert os.listdir(tmp_path) == []


def test_a_file_where_a_folder_should_be_is_told_from_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(EnvironmentFault) as caught:
        write_text(tmp_path / "run" / "report.json", "new")
    assert "room" not in caught.value.fix


def test_a_file_limit_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_text(path, "old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(EnvironmentFault, match="File too large"):
            write_text(path, "x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["report.json"]


def test_a_symlink_is_replaced_and_never_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[tuple[str, str]]
) -> None:
    link = tmp_path / "latest"
    replace_symlink(link, "first")
    replace_symlink(link, "second")
    assert os.readlink(link) == "second"
    assert [name for name, _ in calls] == ["replace", "fsync"] * 2
    monkeypatch.setattr(files.os, "replace", refuse(errno.EIO))
    with pytest.raises(EnvironmentFault):
        replace_symlink(link, "third")
    assert os.readlink(link) == "second"
    assert os.listdir(tmp_path) == ["latest"]


def test_a_leftover_of_a_crash_does_not_stop_the_next_symlink(tmp_path: Path) -> None:
    (tmp_path / f".tmp-latest-{os.getpid()}").symlink_to("half")
    replace_symlink(tmp_path / "latest", "run")
    assert os.listdir(tmp_path) == ["latest"]


def make_folder(path: Path, content: str) -> Path:
    """A folder with a file and a folder in it."""
    (path / "deep").mkdir(parents=True)
    (path / "deep" / "weights").write_text(content)
    return path


def test_a_folder_is_synced_whole_before_it_gets_its_name(
    tmp_path: Path, calls: list[tuple[str, str]]
) -> None:
    publish_folder(make_folder(tmp_path / ".tmp-model", "new"), tmp_path / "model")
    assert calls == [
        ("fsync", "deep"),
        ("fsync", "weights"),
        ("fsync", ".tmp-model"),
        ("rename", ".tmp-model"),
        ("fsync", tmp_path.name),
    ]


def test_a_published_folder_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    make_folder(tmp_path / "model", "old")
    publish_folder(make_folder(tmp_path / ".tmp-model", "new"), tmp_path / "model")
    assert (tmp_path / "model" / "deep" / "weights").read_text() == "new"
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize("call", [1, 2])
def test_a_rename_that_fails_leaves_the_old_folder_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    make_folder(tmp_path / "model", "old")
    new = make_folder(tmp_path / ".tmp-model", "new")
    renames = 0
    honest = os.rename

    def rename(source: Path, target: Path) -> None:
        nonlocal renames
        renames += 1
        if renames == call:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        honest(source, target)

    monkeypatch.setattr(files.os, "rename", rename)
    with pytest.raises(EnvironmentFault):
        publish_folder(new, tmp_path / "model")
    assert (tmp_path / "model" / "deep" / "weights").read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == [".tmp-model", "model"]


def test_half_of_the_old_folder_never_carries_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folder(tmp_path / "model", "old")
    emptied: list[str] = []
    monkeypatch.setattr(files.shutil, "rmtree", lambda path, **_: emptied.append(Path(path).name))
    publish_folder(make_folder(tmp_path / ".tmp-model", "new"), tmp_path / "model")
    assert emptied
    assert all(name.startswith(".tmp-") for name in emptied)


def test_the_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    # The example of FIPS 180-2, appendix B.1.
    assert sha256_of(tmp_path / "file").startswith("ba7816bf8f01cfea414140de5dae2223")


def test_room_is_that_of_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    room = os.statvfs(tmp_path)
    found = free_bytes(tmp_path / "not" / "there" / "yet")
    assert abs(found - room.f_bavail * room.f_frsize) < 2**30


@pytest.mark.filterwarnings("ignore")
def test_room_that_cannot_be_found_out_is_no_second_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.shutil, "disk_usage", refuse(errno.EIO))
    assert free_room(tmp_path) == "an unknown number of bytes"
