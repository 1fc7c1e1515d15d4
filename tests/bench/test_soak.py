"""The soak in its short form: a few seconds of mixed clients, and every promise is kept; the long form's figures are in bench/serve/soak.json."""

import importlib.util
import random
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "bench" / "serve" / "soak.py"
SECONDS = 8


@pytest.fixture(scope="module")
def soak() -> ModuleType:
    spec = importlib.util.spec_from_file_location("soak", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Its dataclasses look their module up by name.
    import sys

    sys.modules["soak"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_a_server_keeps_its_promises_under_mixed_clients(soak: ModuleType) -> None:
    found = soak.run(SECONDS)
    assert found["not_kept"] == []
    assert found["requests"] > 30
    assert set(found["statuses"]) <= {"200", "400", "401", "404", "413", "415", "503"}
    assert found["audit_events"]["stop"] == 1


def test_a_promise_that_is_not_kept_is_found(soak: ModuleType, tmp_path: Path) -> None:
    from luthier.serve.audit.log import AuditLog

    with AuditLog(tmp_path / "audit.jsonl") as log:
        log.append("asked", {"id": "chatcmpl-known"})
    chance = random.Random(1)
    samples = [soak.Sample(at, 10**8 + int(at * 2e6), 20 + int(at), 5 + int(at)) for at in range(40)]
    tally = soak.Tally()
    tally.statuses.update({200: 3, 500: 1, 503: 2})
    tally.ids += ["known", "unknown"]
    tally.lost_streams = 1
    tally.seconds["stream"] = [chance.random() for _ in range(50)]
    broken = " ".join(soak.judge(tally, samples, tmp_path, 1, 40.0)["not_kept"])
    for word in (
        "'500': 1",
        "1 streams",
        "1 requests are not",
        "asked 1, ended 0",
        "memory grew",
        "descriptors",
        "threads",
        "ended with 1",
    ):
        assert word in broken
    assert "503" not in broken
