"""`luthier doctor`: what it says of this machine, and what it says of poorer ones."""

from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from luthier.cli import examine as examination
from luthier.cli.examine import examine
from luthier.floor.nvidia import NvidiaGpu
from luthier.floor.units import format_bytes
from tests.cli.workshop import luthier

EXPECTED = [
    "python",
    "luthier",
    "torch",
    "device",
    "memory",
    "disk",
    "permission",
    "packages",
    "pins",
    "hub",
    "embedded base",
]


def finding(name: str) -> Any:
    (found,) = [found for found in examine() if found.name == name]
    return found


def test_this_machine_can_work_and_everything_is_listed(tmp_path: Path) -> None:
    done = luthier(tmp_path, "doctor", "--json")
    assert done.code == 0, done.out
    assert done.json["is_fit"] is True
    findings = done.json["findings"]
    assert [found["name"] for found in findings[: len(EXPECTED)]] == EXPECTED
    assert all(found["state"] in ("ok", "note") for found in findings)
    torch = next(found for found in findings if found["name"] == "torch")
    assert torch["text"] == metadata.version("torch")


def test_every_extra_is_listed_with_its_install_line_if_it_is_missing(tmp_path: Path) -> None:
    findings = luthier(tmp_path, "doctor", "--json").json["findings"]
    extras = {found["name"]: found for found in findings if found["name"].startswith("extra ")}
    offered = set(metadata.metadata("luthier").get_all("Provides-Extra") or ()) - {"dev"}
    assert {name.removeprefix("extra ") for name in extras} == offered
    for name, found in extras.items():
        line = f'pip install "luthier[{name.removeprefix("extra ")}]"'
        assert found["fix"] == ("" if found["state"] == "ok" else line)


def test_people_get_a_table_and_what_to_type_below_it(tmp_path: Path) -> None:
    done = luthier(tmp_path, "doctor")
    rows = done.out.splitlines()
    assert rows[0].split() == ["what", "found"]
    assert [row.split()[1] for row in rows[2:6]] == ["python", "luthier", "torch", "device"]
    missing = [row for row in rows if row.startswith("note") and " is missing" in row]
    assert len([row for row in rows if row.startswith("extra ") and "pip install" in row]) == len(missing)
    assert not list(tmp_path.iterdir()), "it looks and changes nothing"


def test_what_stops_work_ends_with_5(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "version_of", lambda package: None)
    done = luthier(tmp_path, "doctor", "--json")
    assert done.code == 5
    assert done.json["is_fit"] is False
    (bad,) = [found for found in done.json["findings"] if found["state"] == "bad"]
    assert bad["name"] == "packages"
    assert "peft is missing" in bad["text"]
    assert "make install" in bad["fix"]


def test_a_package_out_of_range_is_named_with_the_range(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = examination.version_of
    monkeypatch.setattr(examination, "version_of", lambda name: "0.1" if name == "peft" else honest(name))
    found = finding("packages")
    assert found.state == "bad"
    assert found.text.startswith("peft 0.1 is not ")


@pytest.mark.parametrize(
    ("free", "state"), [(10**7, "bad"), (10**9, "note"), (10**11, "ok")], ids=["none", "little", "enough"]
)
def test_room_on_the_disk_is_judged(monkeypatch: pytest.MonkeyPatch, free: int, state: str) -> None:
    monkeypatch.setattr(examination, "free_bytes", lambda path: free)
    found = finding("disk")
    assert (found.state, bool(found.fix)) == (state, state != "ok")
    assert format_bytes(free) in found.text


@pytest.mark.parametrize(("free", "state"), [(None, "note"), (10**9, "note"), (10**11, "ok")])
def test_memory_is_judged(monkeypatch: pytest.MonkeyPatch, free: int | None, state: str) -> None:
    monkeypatch.setattr(examination, "available_memory_bytes", lambda: free)
    assert finding("memory").state == state


def test_a_folder_that_may_not_be_written_stops_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination.os, "access", lambda path, mode: False)
    found = finding("permission")
    assert found.state == "bad"
    assert "ls -ld" in found.fix


def test_a_gpu_that_the_build_of_torch_does_not_see_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(examination, "first_nvidia_gpu", lambda: NvidiaGpu("Tesla T4", 16 * 2**30))
    found = finding("device")
    assert found.state == "note"
    assert "Tesla T4" in found.text
    assert "TORCH_INDEX" in found.fix


def test_the_hub_is_told_and_the_token_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_TOKEN", "a-token-that-nobody-may-see")
    found = finding("hub")
    assert (found.state, "a token is set" in found.text) == ("ok", True)
    assert "nobody" not in found.text
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert finding("hub").state == "note"
