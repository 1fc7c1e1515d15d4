"""The device and number format are those that the hardware has; one that the recipe names is refused where it would be emulated."""

import io
import os
from typing import Any

import pytest
import torch

from luthier.floor.errors import EnvironmentFault
from luthier.modelling.device import (
    choose_device,
    choose_precision,
    describe_device,
    peak_memory_bytes,
    usable_cores,
)

CPU = torch.device("cpu")
GPU = torch.device("cuda", 0)


def have_gpu(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int] = (9, 0)) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)

    class Properties:
        name = "NVIDIA Test"
        total_memory = 80 * 2**30

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties)


def have_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def have_cpu(monkeypatch: pytest.MonkeyPatch, cpuinfo: str) -> None:
    monkeypatch.setattr("builtins.open", lambda *_, **__: io.StringIO(cpuinfo))


def test_the_gpu_is_taken_if_there_is_one_and_the_cpu_if_the_recipe_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    have_gpu(monkeypatch)
    assert [choose_device(setting) for setting in ("auto", "cuda", "cpu")] == [GPU, GPU, CPU]
    have_no_gpu(monkeypatch)
    assert [choose_device(setting) for setting in ("auto", "cpu")] == [CPU, CPU]


@pytest.mark.parametrize(
    ("built_for", "said"), [(None, "built without CUDA"), ("12.8", "sees no CUDA device")]
)
def test_a_gpu_that_is_asked_for_and_not_there_is_no_silent_cpu(
    monkeypatch: pytest.MonkeyPatch, built_for: Any, said: str
) -> None:
    have_no_gpu(monkeypatch)
    monkeypatch.setattr(torch.version, "cuda", built_for)
    with pytest.raises(EnvironmentFault, match=said) as caught:
        choose_device("cuda")
    assert (caught.value.code, caught.value.exit_code) == ("env-device", 5)
    assert "model.device=cpu" in caught.value.fix


@pytest.mark.parametrize(
    ("capability", "chosen", "refused"),
    [
        ((9, 0), "bf16", set()),
        ((8, 0), "bf16", set()),
        ((7, 5), "fp16", {"bf16"}),
        ((7, 0), "fp16", {"bf16"}),
        ((6, 1), "fp32", {"bf16", "fp16"}),
    ],
)
def test_a_gpu_computes_in_the_best_format_of_its_generation_and_in_no_emulated_one(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], chosen: str, refused: set[str]
) -> None:
    have_gpu(monkeypatch, capability)
    assert choose_precision("auto", GPU).name == chosen
    for name in ("fp32", "bf16", "fp16"):
        if name not in refused:
            assert choose_precision(name, GPU).name == name
            continue
        with pytest.raises(EnvironmentFault, match=f"train.precision = {name}, but NVIDIA Test") as caught:
            choose_precision(name, GPU)
        assert caught.value.code == "env-precision"
        assert "capability" in caught.value.why


def test_fp16_alone_needs_its_loss_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    have_gpu(monkeypatch)
    needs = {name: choose_precision(name, GPU) for name in ("fp32", "bf16", "fp16")}
    assert [needs[name].needs_scaler for name in needs] == [False, False, True]
    assert [needs[name].dtype for name in needs] == [torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize(
    ("flags", "has_bf16"),
    [
        ("flags\t\t: fpu sse avx2", False),
        ("flags\t\t: fpu avx512_bf16", True),
        ("flags\t\t: amx_bf16 amx_tile", True),
        ("Features\t: asimd bf16", True),
        ("", False),
    ],
)
def test_a_cpu_computes_in_fp32_and_in_bf16_only_where_it_has_the_instructions(
    monkeypatch: pytest.MonkeyPatch, flags: str, has_bf16: bool
) -> None:
    have_cpu(monkeypatch, f"processor\t: 0\nmodel name\t: Test CPU\n{flags}\n")
    assert choose_precision("auto", CPU).name == "fp32"
    assert choose_precision("fp32", CPU).dtype == torch.float32
    if has_bf16:
        assert choose_precision("bf16", CPU).name == "bf16"
    else:
        with pytest.raises(EnvironmentFault, match="Test CPU"):
            choose_precision("bf16", CPU)
    with pytest.raises(EnvironmentFault, match="fp16"):
        choose_precision("fp16", CPU)


def test_a_machine_that_does_not_list_its_cpu_has_a_name_and_no_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(EnvironmentFault):
        choose_precision("bf16", CPU)
    assert f"({usable_cores()} cores)" in describe_device(CPU)


def test_devices_are_called_as_people_know_them(monkeypatch: pytest.MonkeyPatch) -> None:
    have_gpu(monkeypatch)
    assert describe_device(GPU) == "NVIDIA Test (80 GiB)"
    have_cpu(monkeypatch, "model name\t: Test CPU @ 2 GHz\n")
    assert describe_device(CPU) == f"Test CPU @ 2 GHz ({usable_cores()} cores)"


def test_cores_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 7}, raising=False)
    assert usable_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1


def test_peak_memory_on_a_cpu_holds_what_a_tensor_took() -> None:
    before = peak_memory_bytes(CPU)
    assert before > 50 * 2**20, "torch alone is larger than that"
    block = torch.ones(before // 4 + 2**24)
    assert peak_memory_bytes(CPU) >= before + 2**24
    del block
