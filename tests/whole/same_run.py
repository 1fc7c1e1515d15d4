"""Whether two runs are the same run: weights, optimizer, counters and metrics, bit for bit."""

import json
from typing import Any

from luthier.floor.files import sha256_of
from luthier.floor.rundir import RunDir
from luthier.train.checkpoint import list_checkpoints

# What a clock or the machine decides, not the run.
OF_THE_MOMENT = {"tokens_per_second", "share_of_peak", "peak_bytes", "seconds", "resumed_from"}


def what_a_run_is(run: RunDir) -> dict[str, Any]:
    """Everything about a finished run that must not depend on how often it was stopped."""
    newest = list_checkpoints(run.checkpoints)[-1]
    facts = json.loads((newest / "facts.json").read_text())
    return {
        "model": {path.name: sha256_of(path) for path in sorted(run.model.glob("*.safetensors"))},
        "weights": sha256_of(newest / "weights.safetensors"),
        "optimizer": sha256_of(newest / "optimizer.safetensors"),
        "progress": without_the_moment(facts.pop("progress")),
        "facts": facts,
        "metrics": [without_the_moment(json.loads(line)) for line in run.metrics.read_text().splitlines()],
    }


def without_the_moment(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in OF_THE_MOMENT}


def assert_same_run(run: RunDir, reference: RunDir) -> None:
    """Compare part by part, so that a failure says what differs first."""
    found, expected = what_a_run_is(run), what_a_run_is(reference)
    losses = [
        [entry["loss"].hex() for entry in metrics if "loss" in entry]
        for metrics in (found["metrics"], expected["metrics"])
    ]
    differing = [step for step, pair in enumerate(zip(*losses, strict=False), start=1) if pair[0] != pair[1]]
    assert not differing, f"the losses differ from step {differing[0]} on"
    assert found["model"], "the run has no model"
    for part, value in expected.items():
        assert found[part] == value, f"{part} differs"
