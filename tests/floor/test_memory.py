"""Peak memory as the kernel books it."""

import subprocess
import sys
from pathlib import Path

import pytest

from luthier.floor import memory as module
from luthier.floor.memory import available_memory_bytes, peak_resident_bytes

MIB = 2**20


def test_it_is_in_bytes_and_never_falls() -> None:
    before = peak_resident_bytes()
    block = bytearray(b"x" * (before + 16 * MIB))
    after = peak_resident_bytes()
    del block
    assert after >= before + 16 * MIB
    assert peak_resident_bytes() >= after


def test_what_the_process_that_started_it_held_is_not_its_own() -> None:
    program = "from luthier.floor.memory import peak_resident_bytes as peak; print(peak())"
    starter = f"""
import subprocess, sys
held = bytearray(b"x" * {400 * MIB})
print(subprocess.run([sys.executable, "-c", {program!r}], capture_output=True, text=True, check=True).stdout)
"""
    done = subprocess.run([sys.executable, "-c", starter], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 100 * MIB


def test_without_proc_a_mac_reports_bytes_and_others_kibibytes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Usage:
        ru_maxrss = MIB

    monkeypatch.setattr(module, "STATUS", tmp_path / "absent")
    monkeypatch.setattr(module.resource, "getrusage", lambda who: Usage)
    for platform, unit in (("linux", 1024), ("darwin", 1)):
        monkeypatch.setattr(module.sys, "platform", platform)
        assert peak_resident_bytes() == MIB * unit


def test_a_container_leaves_what_is_left_of_its_limit(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 100 kB\nMemAvailable:   4000000 kB\n")
    assert available_memory_bytes(meminfo, tmp_path) == 4_096_000_000
    (tmp_path / "memory.max").write_text("3000\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert available_memory_bytes(meminfo, tmp_path) == 2000
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory_bytes(meminfo, tmp_path) == 4_096_000_000
    assert available_memory_bytes(tmp_path / "none", tmp_path / "none") is None
