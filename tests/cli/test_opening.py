"""A run that is opened: its recipe's warnings are told, and it is taken back if it comes to nothing."""

from pathlib import Path

import pytest

from tests.cli.workshop import listing, luthier, make_workshop

# Whole trainings, evaluations or merges: out of the quick suite, which has a minute and a half.
pytestmark = pytest.mark.whole


def runs_of(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "outputs" / "runs").iterdir())


@pytest.mark.parametrize(
    ("fault", "code", "word"),
    [
        (MemoryError("out"), 5, "env-memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 5, "env-memory"),
        (OSError(28, "No space left on device", "outputs/cache"), 5, "env-disk"),
        (PermissionError(13, "Permission denied", "outputs/cache"), 5, "env-permission"),
        (RuntimeError("a slip of ours"), 70, "internal"),
    ],
    ids=lambda value: str(value).replace(" ", "-"),
)
def test_a_run_that_the_machine_refuses_is_taken_back(
    tiny_base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: Exception,
    code: int,
    word: str,
) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise fault

    folder = make_workshop(tmp_path / "workshop", tiny_base)
    assert luthier(folder, "prepare", "train").code == 0
    before = listing(folder)
    monkeypatch.setattr("luthier.data.stage.prepare", refuse)
    done = luthier(folder, "train", "train", "--json")
    error = done.json["error"]
    assert (done.code, error["code"], error["exit_code"]) == (code, word, code)
    assert "Traceback" not in done.said
    assert listing(folder) == before, "latest points where it did, and the new folder is gone"


def test_the_first_run_that_fails_leaves_no_latest(tiny_base: Path, tmp_path: Path) -> None:
    folder = make_workshop(tmp_path / "workshop", tiny_base)
    assert luthier(folder, "train", "train", "dataset_pattern=*.csv").code == 3
    assert runs_of(folder) == []


def test_a_setting_that_changes_nothing_is_told_when_a_run_opens(tiny_base: Path, tmp_path: Path) -> None:
    folder = make_workshop(tmp_path / "workshop", tiny_base)
    done = luthier(folder, "prepare", "train", "train.schedule.decay_fraction=0.5", "--json")
    assert done.code == 0, done.err
    assert "warning: train.schedule.decay_fraction (command line) changes nothing" in done.err
    assert done.json["run"]


def test_a_run_given_by_name_is_opened_there_and_latest_points_to_it(tiny_base: Path, tmp_path: Path) -> None:
    folder = make_workshop(tmp_path / "workshop", tiny_base)
    assert luthier(folder, "prepare", "train", "--run", "outputs/runs/first").code == 0
    assert runs_of(folder) == ["first", "latest"]
    assert (folder / "outputs" / "runs" / "latest").readlink() == Path("first")
    assert luthier(folder, "prepare", "train", "--run", "elsewhere").code == 0
    assert (folder / "outputs" / "runs" / "latest").readlink() == Path("first"), (
        "only runs of ours are latest"
    )


def test_a_rehearsal_tells_what_changes_nothing_and_opens_no_run(tiny_base: Path, tmp_path: Path) -> None:
    folder = make_workshop(tmp_path / "workshop", tiny_base)
    before = listing(folder)
    done = luthier(folder, "train", "train", "train.schedule.decay_fraction=0.5", "--dry-run", "--json")
    assert done.code == 0, done.err
    assert "warning: train.schedule.decay_fraction (command line) changes nothing" in done.err
    assert done.json["files"] == ["data/rows.jsonl"]
    assert done.json["rows_per_step"] == 8
    assert listing(folder) == before
