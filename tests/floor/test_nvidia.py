"""What the driver of NVIDIA tells of the first GPU, and every way in which it tells nothing."""

import subprocess
from typing import Any

import pytest

from luthier.floor import nvidia
from luthier.floor.nvidia import NvidiaGpu, first_nvidia_gpu


def test_the_first_gpu_of_the_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Any] = [
        subprocess.CompletedProcess([], 0, "NVIDIA H100 80GB HBM3, 81559\n", ""),
        subprocess.CompletedProcess([], 0, "No devices were found\n", ""),
        subprocess.CompletedProcess([], 0, "", ""),
        subprocess.CalledProcessError(9, "nvidia-smi"),
        subprocess.TimeoutExpired("nvidia-smi", 20),
        OSError("gone"),
    ]

    def run(*arguments: object, **named: object) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(nvidia.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(nvidia.subprocess, "run", run)
    found = [first_nvidia_gpu() for _ in range(6)]
    assert found == [NvidiaGpu("NVIDIA H100 80GB HBM3", 81559 * 2**20), None, None, None, None, None]
    monkeypatch.setattr(nvidia.shutil, "which", lambda name: None)
    assert first_nvidia_gpu() is None
