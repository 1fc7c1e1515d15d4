import pytest

from luthier.knowledge.hardware import GPUS, find_gpu, peak_flops_of


@pytest.mark.parametrize(
    ("name", "teraflops", "gib"),
    [
        ("NVIDIA H200", 989.4, 141),
        ("NVIDIA H100 80GB HBM3", 989.4, 80),
        ("NVIDIA H100 PCIe", 756, 80),
        ("NVIDIA H100 NVL", 835.5, 94),
        ("NVIDIA GH200 480GB", 989.4, 96),
        ("NVIDIA A100-SXM4-80GB", 312, 80),
        ("NVIDIA A100 80GB PCIe", 312, 80),
        ("NVIDIA A100-SXM4-40GB", 312, 40),
        ("NVIDIA A100-PCIE-40GB", 312, 40),
        ("NVIDIA L40S", 362, 48),
        ("NVIDIA L40", 181, 48),
        ("NVIDIA L4", 121, 24),
        ("NVIDIA A10", 125, 24),
        ("NVIDIA A10G", 70, 24),
        ("NVIDIA RTX 6000 Ada Generation", 364.2, 48),
        ("NVIDIA RTX A6000", 154.8, 48),
        ("NVIDIA GeForce RTX 4090", 165.2, 24),
        ("NVIDIA GeForce RTX 3090 Ti", 80, 24),
        ("Tesla V100-SXM2-16GB", 125, 16),
        ("Tesla T4", 65, 16),
        ("AMD Instinct MI300X", 1307.4, 192),
    ],
)
def test_a_driver_name_finds_its_row(name: str, teraflops: float, gib: int) -> None:
    gpu = find_gpu(name)
    assert gpu is not None
    assert gpu.peak_flops == pytest.approx(teraflops * 1e12)
    assert gpu.memory_bytes == gib * 2**30


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA A100-SXM4-80GB MIG 1g.10gb",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA GeForce RTX 4090 D",
        "NVIDIA GeForce RTX 4080 SUPER",
        "NVIDIA A10M",
        "NVIDIA RTX A1000",
        "NVIDIA L400",
        "cpu",
        "",
    ],
)
def test_a_chip_that_only_sounds_alike_has_no_peak(name: str) -> None:
    assert find_gpu(name) is None
    assert peak_flops_of(name) is None


def test_no_row_hides_behind_a_more_general_one() -> None:
    for place, gpu in enumerate(GPUS):
        assert not any(earlier.words <= gpu.words for earlier in GPUS[:place]), gpu.words


def test_no_row_holds_a_word_that_rules_a_chip_out() -> None:
    for gpu in GPUS:
        assert find_gpu(" ".join(gpu.words)) == gpu


def test_figures_have_the_size_of_their_units() -> None:
    for gpu in GPUS:
        assert 50e12 <= gpu.peak_flops <= 3e15
        assert 200e9 <= gpu.bytes_per_second <= 10e12
        assert 16 * 2**30 <= gpu.memory_bytes <= 300 * 2**30


def test_a_device_described_for_people_is_found_too() -> None:
    # As modelling/device.py describes it, memory in parentheses.
    assert peak_flops_of("NVIDIA H200 (140 GiB)") == 989.4e12
    assert peak_flops_of("AMD EPYC 9B14 96-Core Processor (2 cores)") is None


def test_only_old_chips_lack_bf16() -> None:
    assert all(gpu.words & {"v100", "t4"} for gpu in GPUS if not gpu.has_bf16)
    assert sum(not gpu.has_bf16 for gpu in GPUS) == 3
