"""metrics.jsonl holds every step once, in whole lines, and a disk that refuses them does not end the run."""

import errno
import json
import os
import resource
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.floor.log import Recorder
from luthier.train.metrics import MetricsFile, progress_detail

# What Python's splitlines takes for the end of a line and JSON does not.
ODD_TEXT = "a\u2028b\x85c\u2029d"


def entries(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def make_file(folder: Path) -> tuple[MetricsFile, Path, Recorder]:
    listener = Recorder()
    return MetricsFile(folder / "metrics.jsonl", listener), folder / "metrics.jsonl", listener


def test_a_resumed_run_keeps_the_lines_up_to_its_checkpoint(tmp_path: Path) -> None:
    metrics, path, _ = make_file(tmp_path)
    for step in range(1, 7):
        metrics.append({"step": step, "loss": 1 / step})
    metrics.append({"step": 4, "validation_loss": 0.5})
    metrics.cut_back(4)
    assert [entry["step"] for entry in entries(path)] == [1, 2, 3, 4, 4]
    metrics.append({"step": 5, "loss": 0.25})
    assert entries(path)[-1] == {"step": 5, "loss": 0.25}


def test_a_run_from_the_start_keeps_no_line(tmp_path: Path) -> None:
    metrics, path, _ = make_file(tmp_path)
    metrics.append({"step": 1, "loss": 1.0})
    metrics.cut_back(0)
    assert path.read_bytes() == b""


def test_a_new_run_has_nothing_to_cut(tmp_path: Path) -> None:
    metrics, path, _ = make_file(tmp_path)
    metrics.cut_back(0)
    assert not path.exists()


def test_a_line_keeps_any_text_of_an_answer_through_a_resume(tmp_path: Path) -> None:
    metrics, path, _ = make_file(tmp_path)
    metrics.append({"step": 1, "samples": {"question": ODD_TEXT}})
    metrics.cut_back(1)
    assert entries(path) == [{"step": 1, "samples": {"question": ODD_TEXT}}]


@given(st.data())
def test_a_line_cut_at_any_byte_is_dropped_and_the_others_stay(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    metrics, path, _ = make_file(tmp_path_factory.getbasetemp())
    path.unlink(missing_ok=True)
    metrics.append({"step": 1, "loss": 1.0})
    first = path.read_bytes()
    metrics.append({"step": 2, "samples": {"q": "Größe \U0001f3bb"}})
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(len(first), len(whole) - 2))])
    metrics.cut_back(5)
    assert path.read_bytes() == first


def test_a_full_disk_is_warned_of_once_and_leaves_whole_lines(tmp_path: Path) -> None:
    metrics, path, listener = make_file(tmp_path)
    metrics.append({"step": 1, "loss": 1.0})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, before[1]))
    try:
        for step in (2, 3):
            metrics.append({"step": step, "loss": 1.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    metrics.append({"step": 4, "loss": 1.0})
    assert [entry["step"] for entry in entries(path)] == [1, 4]
    assert len(listener.warnings) == 1
    assert "File too large; training goes on without it" in listener.warnings[0]


def test_a_folder_that_is_gone_is_warned_of_and_not_made_anew(tmp_path: Path) -> None:
    metrics, path, listener = make_file(tmp_path / "moved")
    metrics.append({"step": 1, "loss": 1.0})
    assert len(listener.warnings) == 1
    assert os.strerror(errno.ENOENT) in listener.warnings[0]
    assert not path.parent.exists()


def test_a_figure_that_no_reader_takes_never_reaches_the_file(tmp_path: Path) -> None:
    metrics, path, _ = make_file(tmp_path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        metrics.append({"step": 1, "loss": float("nan")})
    assert not path.exists()


def test_the_line_a_person_watches_leaves_out_an_unknown_share_of_the_peak() -> None:
    entry = {
        "loss": 1.25,
        "lr": 2e-4,
        "grad_norm": 0.5,
        "tokens_per_second": 12345.0,
        "peak_bytes": 3 * 2**30,
        "share_of_peak": None,
    }
    assert (
        progress_detail(entry, seconds_left=185)
        == "loss 1.2500  lr 2.00e-04  norm 0.50  12.3 k tok/s  3.0 GiB peak  3 min 05 s left"
    )
    assert "41% of peak" in progress_detail(entry | {"share_of_peak": 0.41}, seconds_left=1)
