"""Runs that are missing, unfinished, held by another process or out of disk: what each command says of them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.workshop import Done, listing, luthier, make_workshop, question_rows, write_rows

# Whole trainings, evaluations or merges: out of the quick suite, which has a minute and a half.
pytestmark = pytest.mark.whole

HOLD = """
import sys
from pathlib import Path
from luthier.floor.rundir import RunDir, lock_run
with lock_run(RunDir(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def trained(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workshop with one finished run. Shared: tests that change it copy it."""
    folder = make_workshop(tmp_path_factory.mktemp("trained") / "workshop", tiny_base)
    done = luthier(
        folder, "train", "train", "epochs=1", "evaluate.max_new_tokens=4", "evaluate.gate_metric=loss"
    )
    assert done.code == 0, done.err
    return folder


@pytest.fixture
def workshop(trained: Path, tmp_path: Path) -> Path:
    """A copy of the workshop with its finished run."""
    return Path(shutil.copytree(trained, tmp_path / "workshop", symlinks=True))


def finished(folder: Path) -> str:
    """The path of the one finished run, as typed."""
    (report,) = folder.glob("outputs/runs/2*/train/report.json")
    return report.parents[1].relative_to(folder).as_posix()


def assert_refused(done: Done, code: int, word: str, *parts: str) -> None:
    assert done.code == code, done.said
    assert f"error[{word}]" in done.err
    assert [part for part in parts if part not in done.err] == [], done.err
    assert "Traceback" not in done.said
    error = done.json["error"]
    assert (error["code"], error["exit_code"]) == (word, code)
    assert error["what"]
    assert error["where"]
    assert error["fix"]


COMMANDS_ON_A_RUN = (
    ("eval", "--run"),
    ("merge", "--run"),
    ("compare",),
    ("train", "--resume"),
)


@pytest.mark.parametrize("words", COMMANDS_ON_A_RUN, ids=lambda words: words[0])
def test_a_run_that_does_not_exist_is_named_with_those_that_do(trained: Path, words: tuple[str, ...]) -> None:
    before = listing(trained)
    near = Path(finished(trained)).name
    wrong = near[:-1] + ("0" if near[-1] != "0" else "1")
    done = luthier(trained, *words, wrong, "--json")
    assert_refused(done, 2, "run-missing", f"'{wrong}'", "outputs/runs", near, "luthier runs")
    assert listing(trained) == before


@pytest.mark.parametrize("words", COMMANDS_ON_A_RUN, ids=lambda words: words[0])
def test_latest_pointing_nowhere_is_said_with_where_it_points(workshop: Path, words: tuple[str, ...]) -> None:
    link = workshop / "outputs" / "runs" / "latest"
    link.unlink()
    link.symlink_to("2020-01-01_00-00-00")
    done = luthier(workshop, *words, "latest", "--json")
    assert_refused(
        done, 2, "run-missing", "latest points to 2020-01-01_00-00-00", "not there", "luthier runs"
    )


def test_latest_pointing_nowhere_hinders_neither_a_new_run_nor_the_newest_finished_one(
    workshop: Path,
) -> None:
    link = workshop / "outputs" / "runs" / "latest"
    link.unlink()
    link.symlink_to("2020-01-01_00-00-00")
    done = luthier(workshop, "eval", "--json")
    assert done.code == 0, done.err
    assert done.json["run"] == finished(workshop)
    assert luthier(workshop, "prepare", "train").code == 0
    assert link.is_dir()


@pytest.mark.parametrize("words", [("eval",), ("merge",), ("compare",)], ids=lambda words: words[0])
def test_no_run_at_all_says_how_to_make_one(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = luthier(tmp_path, *words, "--json")
    assert_refused(done, 2, "run-missing", "there is no run below outputs/runs", "luthier train")
    assert listing(tmp_path) == {}


def prepared_only(folder: Path) -> str:
    """Open a run in which nothing was trained; returns its path as typed."""
    done = luthier(folder, "prepare", "train", "--json")
    assert done.code == 0, done.err
    return str(done.json["run"])


@pytest.fixture(scope="module")
def untrained(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A workshop whose one run is prepared and not trained. Shared: refused commands change nothing."""
    folder = make_workshop(tmp_path_factory.mktemp("untrained") / "workshop", tiny_base)
    return folder, prepared_only(folder)


def test_resuming_with_nothing_to_resume_ends_with_7(untrained: tuple[Path, str]) -> None:
    folder, run = untrained
    before = listing(folder)
    done = luthier(folder, "train", "--resume", run, "--json")
    assert_refused(done, 7, "ckpt-none", Path(run).name, "checkpoints", f"luthier train --run {run}")
    assert listing(folder) == before


def test_a_run_held_before_its_first_checkpoint_is_not_said_to_have_stopped(
    untrained: tuple[Path, str],
) -> None:
    folder, run = untrained
    with held_by_another_process(folder / run) as pid:
        done = luthier(folder, "train", "--resume", run, "--json")
        assert_refused(done, 2, "run-locked", f"process {pid} on", run, "Wait until it ends")


@pytest.mark.parametrize(
    "words", [("eval", "--run"), ("merge", "--run"), ("compare",)], ids=lambda words: words[0]
)
def test_a_run_without_a_model_yet_is_told_from_a_missing_one(
    untrained: tuple[Path, str], words: tuple[str, ...]
) -> None:
    folder, run = untrained
    done = luthier(folder, *words, run, "--json")
    assert_refused(done, 2, "run-unfinished", Path(run).name, "luthier train --resume")
    assert sorted(path.name for path in (folder / run).iterdir()) == [
        ".lock",
        "config_used.yaml",
        "data",
        "logs",
    ]


@pytest.mark.parametrize("verb", ["eval", "merge", "compare"])
def test_unfinished_runs_alone_are_said_to_be_unfinished(untrained: tuple[Path, str], verb: str) -> None:
    folder, run = untrained
    done = luthier(folder, verb, "--json")
    assert_refused(done, 2, "run-unfinished", Path(run).name, f"luthier train --resume {run}")


def test_a_prepared_run_is_trained_in_its_own_folder(untrained: tuple[Path, str], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(untrained[0], tmp_path / "workshop", symlinks=True))
    run = untrained[1]
    done = luthier(folder, "train", "--run", run, "--json")
    assert done.code == 0, done.err
    assert done.json["run"] == run
    assert finished(folder) == run


@contextmanager
def held_by_another_process(run: Path) -> Iterator[int]:
    """A second process works on the run; yields its id."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", HOLD, str(run)], **pipes) as process:  # type: ignore[call-overload]
        assert process.stdout.readline() == "held\n"
        yield process.pid
        process.communicate("", timeout=60)


def test_a_run_held_by_another_process_is_left_to_it(workshop: Path) -> None:
    run = finished(workshop)
    before = listing(workshop)
    with held_by_another_process(workshop / run) as pid:
        for words in (*COMMANDS_ON_A_RUN, ("train", "--run"), ("prepare", "--run")):
            done = luthier(workshop, *words, run, "--json")
            assert_refused(done, 2, "run-locked", f"process {pid} on", run, "Wait until it ends")
        assert luthier(workshop, "runs", "--json").json["runs"][0]["state"] == "working"
    after = listing(workshop)
    assert after.keys() == before.keys()
    assert [name for name in before if after[name] != before[name] and not name.endswith(".lock")] == []
    assert luthier(workshop, "train", "--run", run).code == 0, "the lock of a process that ended is free"


def test_a_run_is_not_continued_with_another_recipe(workshop: Path) -> None:
    run = finished(workshop)
    before = listing(workshop)
    done = luthier(workshop, "train", "--run", run, "lr=1e-3", "--json")
    assert_refused(done, 2, "run-used", "train.lr: 0.005, now 0.001", run, "luthier train RECIPE")
    assert listing(workshop).keys() == before.keys()


def test_a_folder_of_other_files_becomes_no_run(workshop: Path) -> None:
    before = listing(workshop)
    done = luthier(workshop, "train", "train", "--run", "data", "--json")
    assert_refused(done, 2, "run-used", "eval", "rows.jsonl", "data", "empty or not there yet")
    done = luthier(workshop, "eval", "--run", "data", "--json")
    assert_refused(done, 2, "run-missing", "data", "config_used.yaml", "luthier runs")
    assert listing(workshop) == before


def test_two_names_for_a_run_are_one_too_many(workshop: Path) -> None:
    done = luthier(workshop, "train", "--run", "one", "--resume", "two", "--json")
    assert_refused(done, 2, "usage", "--run one", "--resume two", "Keep one of them")


def test_a_comparison_makes_the_evaluations_that_are_missing(workshop: Path) -> None:
    run = workshop / finished(workshop)
    done = luthier(workshop, "compare", "--json")
    assert done.code == 0, done.err
    assert done.json["gate_metric"] == "loss"
    assert done.json["passed"]
    assert {path.parent.name for path in run.glob("evaluate/*/report.json")} == {"base", "tuned"}
    assert f"the newest finished run: {finished(workshop)}" in done.err


def test_a_lost_comparison_ends_with_1_and_its_figures(workshop: Path) -> None:
    done = luthier(workshop, "compare", finished(workshop), finished(workshop), "--json")
    assert done.code == 1
    assert done.json["passed"] is False
    assert "error[gate-compare]: loss went from" in done.err


def test_evaluations_of_other_rows_are_not_compared(workshop: Path) -> None:
    run = finished(workshop)
    assert luthier(workshop, "eval", "eval", "--run", run).code == 0
    write_rows(workshop / "data" / "eval" / "test.jsonl", question_rows(4, start=200))
    other = luthier(
        workshop, "train", "train", "epochs=1", "evaluate.path=data/eval/other.jsonl", "--json"
    ).json["run"]
    write_rows(workshop / "data" / "eval" / "other.jsonl", question_rows(3, start=300))
    done = luthier(workshop, "compare", other, run, "--json")
    assert_refused(done, 3, "compare-rows", "(4 and 3)", "evaluate", "luthier eval evaluate.path=")


def test_missing_held_out_rows_are_named_and_no_evaluation_is_begun(workshop: Path) -> None:
    before = listing(workshop)
    done = luthier(workshop, "eval", "evaluate.path=data/eval/tset.jsonl", "--json")
    assert_refused(done, 3, "data-missing", "data/eval/tset.jsonl", "did you mean data/eval/test.jsonl?")
    after = listing(workshop)
    assert [name for name in after if name not in before] == []


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A disk of a few hundred kilobytes at `folder`."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_disk_that_fills_up_ends_with_5_and_the_run_goes_on_once_there_is_room(
    tiny_base: Path, tmp_path: Path
) -> None:
    folder = make_workshop(tmp_path / "workshop", tiny_base)
    runs = folder / "outputs" / "runs"
    with small_disk(runs, "700k"):
        done = luthier(folder, "train", "train", "save_steps=1", "--json")
        assert_refused(done, 5, "env-disk", "checkpoints", "free", "Make room")
        (run,) = runs.glob("2*")
        newest = max(int(path.name.removeprefix("step-")) for path in run.glob("checkpoints/step-*"))
        assert not list(run.rglob(".tmp-*"))
        assert not (run / "model").exists()
        subprocess.run(["mount", "-o", "remount,size=16m", str(runs)], check=True)
        again = luthier(folder, "train", "--resume", run.name, "--json")
        assert again.code == 0, again.err
        assert again.json["resumed_from_steps"] == [newest]
        assert (run / "model" / "adapter_model.safetensors").is_file()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_disk_too_small_for_a_first_checkpoint_keeps_no_run(tiny_base: Path, tmp_path: Path) -> None:
    folder = make_workshop(tmp_path / "workshop", tiny_base)
    with small_disk(folder / "outputs", "56k"):
        done = luthier(folder, "train", "train", "save_steps=1", "--json")
        assert done.code == 5, done.said
        assert "error[env-disk]" in done.err
        assert not list((folder / "outputs").rglob(".tmp-*"))
        assert not list((folder / "outputs" / "runs").glob("2*"))
