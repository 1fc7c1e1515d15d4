"""`train.profile`: the files it writes, from real events of torch's profiler on a CPU."""

import gzip
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional

from luthier.floor.log import Recorder
from luthier.floor.rundir import RunDir
from luthier.modelling.step_costs import COSTS, Event, break_down, read_events
from luthier.train.profile import RESULT, STEPS_TRACED, TRACE, StepProfile, profile_folder
from tests.tiny import make_tiny

pytestmark = pytest.mark.slow


def make_job(folder: Path, *, steps: int, is_on: bool = True, device: str = "cpu") -> Any:
    """As much of a job as the profile looks at."""
    (folder / "logs").mkdir()
    return SimpleNamespace(
        recipe=SimpleNamespace(train=SimpleNamespace(profile=is_on)),
        run=RunDir(folder),
        order=SimpleNamespace(total_steps=steps),
        device=torch.device(device),
        listener=Recorder(),
        precision=SimpleNamespace(name="fp32"),
        batches=SimpleNamespace(attention="sdpa"),
        flops_per_token=1.0,
        peak_flops=None,
    )


def take_steps(profile: StepProfile, numbers: range) -> list[int]:
    """Real steps of a tiny model; returns those after which the trace was written."""
    device = profile.device
    model = make_tiny().to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    ids = torch.randint(0, 290, (4, 64), generator=torch.Generator().manual_seed(0)).to(device)
    written = []
    for number in numbers:
        profile.before_step(number)
        with torch.profiler.record_function("luthier.loss"):
            logits = model(input_ids=ids).logits
            loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if profile.after_step(number):
            written.append(number)
    return written


def take_steps_on(device: torch.device, folder: Path) -> list[Event]:
    """The events of three real steps on a device."""
    job = make_job(folder, steps=20, device=device.type)
    with StepProfile(job, done_steps=0) as profile:
        take_steps(profile, range(20))
    with gzip.open(profile_folder(job.run.logs) / TRACE) as file:
        return read_events(json.load(file))


def test_some_steps_after_the_warm_up_are_traced_and_cut_into_costs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    job = make_job(tmp_path, steps=20)
    with StepProfile(job, done_steps=0) as profile:
        assert take_steps(profile, range(20)) == [12]
    folder = profile_folder(job.run.logs)
    assert sorted(path.name for path in folder.iterdir()) == [RESULT, TRACE]
    found = json.loads((folder / RESULT).read_text())
    assert (found["first_step"], found["last_step"], found["steps"]) == (11, 13, STEPS_TRACED)
    assert list(found["seconds"]) == list(COSTS)
    assert sum(found["seconds"].values()) == pytest.approx(found["wall_seconds"])
    assert {cost for cost in COSTS if found["shares"][cost] > 0.005} >= {"matmul", "logits", "optimizer"}
    assert "traced 3 steps: " in job.listener.lines[0]
    with gzip.open(folder / TRACE) as file:
        assert break_down(read_events(json.load(file))).seconds == found["seconds"]
    assert capfd.readouterr().err == "", "the profiler's own talk stays off the terminal"


def test_a_resumed_session_traces_steps_of_its_own(tmp_path: Path) -> None:
    job = make_job(tmp_path, steps=60)
    with StepProfile(job, done_steps=40) as profile:
        assert take_steps(profile, range(40, 60)) == [52]


@pytest.mark.parametrize(("steps", "traced"), [(2, [1]), (3, [2]), (5, [4]), (12, [11])])
def test_a_short_run_is_traced_at_its_end(tmp_path: Path, steps: int, traced: list[int]) -> None:
    job = make_job(tmp_path, steps=steps)
    with StepProfile(job, done_steps=0) as profile:
        assert take_steps(profile, range(steps)) == traced


def test_a_run_of_one_step_is_told_that_it_is_too_short(tmp_path: Path) -> None:
    job = make_job(tmp_path, steps=1)
    with StepProfile(job, done_steps=0) as profile:
        assert take_steps(profile, range(1)) == []
    assert job.listener.warnings == ["train.profile has no step to trace: 1 steps are left, and it needs two"]


def test_a_run_that_stops_while_it_is_traced_leaves_no_half_trace(tmp_path: Path) -> None:
    job = make_job(tmp_path, steps=20)
    with StepProfile(job, done_steps=0) as profile:
        take_steps(profile, range(11))
        profile.before_step(11)
    assert not profile_folder(job.run.logs).exists()
    with StepProfile(job, done_steps=0) as profile:  # torch allows one at a time: the first one has ended
        assert take_steps(profile, range(20)) == [12]


def test_without_the_setting_nothing_is_recorded(tmp_path: Path) -> None:
    job = make_job(tmp_path, steps=20, is_on=False)
    with StepProfile(job, done_steps=0) as profile:
        assert take_steps(profile, range(20)) == []
    assert not profile_folder(job.run.logs).exists()


def test_a_disk_that_refuses_the_trace_does_not_stop_the_training(tmp_path: Path) -> None:
    job = make_job(tmp_path, steps=20)
    (job.run.logs / "profile").write_text("in the way")
    with StepProfile(job, done_steps=0) as profile:
        assert take_steps(profile, range(20)) == [12]
    assert job.listener.warnings[0].startswith("the profile is not kept: cannot write")
