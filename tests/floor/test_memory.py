"""Peak memory as the kernel books it."""

import subprocess
import sys
from pathlib import Path

import pytest

from luthier.floor import memory as module
from luthier.floor.memory import peak_resident_bytes

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
