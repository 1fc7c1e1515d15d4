"""What a plan says of memory, held against what was measured, and against the code whose tensors it counts."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.config.compose import load_overrides
from luthier.config.recipe import Recipe
from luthier.knowledge.parameter_count import count_parameters
from luthier.knowledge.shapes import SHAPES
from luthier.knowledge.training_memory import DecoderShape
from luthier.modelling.losses import CHUNK_LOGITS_CPU, CHUNK_LOGITS_CUDA
from luthier.plan.device import PlannedDevice, planned_device
from luthier.plan.fit import fits, ladder
from luthier.plan.memory import MOST_LOGITS_CPU, MOST_LOGITS_CUDA, memory_of
from luthier.plan.model import PlannedModel

RESULTS = Path(__file__).parents[2] / "bench" / "results" / "train_speed.json"
GIB = 2**30


def recipe_of(*overrides: str) -> Recipe:
    return load_overrides(overrides, under={"model": {"name": "embedded"}}).recipe


def model_of(shape_name: str) -> PlannedModel:
    config = SHAPES[shape_name]
    shape = DecoderShape.of(config)
    assert shape is not None
    parameters = count_parameters(config, shape)
    return PlannedModel(
        shape_name, config["model_type"], shape, parameters, "the shape", 2 * parameters, 32768, False
    )


def train_phase(shape_name: str, gpu: str, *overrides: str) -> Any:
    recipe = recipe_of(*overrides)
    return memory_of(model_of(shape_name), recipe, planned_device(recipe, gpu))["train"]


def measured_peak(row: str) -> int:
    entries = json.loads(RESULTS.read_text("utf-8"))
    entries = entries["entries"] if isinstance(entries, dict) else entries
    return max(entry["contenders"]["luthier"]["peak_bytes"] for entry in entries if entry["row"] == row)


def test_the_chunks_of_logits_are_those_of_the_loss() -> None:
    assert (MOST_LOGITS_CUDA, MOST_LOGITS_CPU) == (CHUNK_LOGITS_CUDA, CHUNK_LOGITS_CPU)


@pytest.mark.parametrize(
    ("row", "settings"),
    [
        ("qwen0.5b-lora-32k", ("train.pack_tokens=32768", "data.max_length=1024")),
        ("qwen0.5b-lora-guide-step", ("train.batch_size=4", "data.max_length=427")),
    ],
)
def test_measured_peaks_lie_between_the_bounds(row: str, settings: tuple[str, ...]) -> None:
    """What torch had reserved; the context of CUDA comes on top, which is all of `runtime`."""
    phase = train_phase("qwen2.5-0.5b", "h200", *settings, "method.rank=64", "method.dropout=0")
    runtime = next(item.bytes for item in phase.items if item.name == "runtime")
    assert phase.low_bytes - runtime < measured_peak(row) < phase.high_bytes


def test_an_8b_step_lies_near_its_measured_peak() -> None:
    """51.4 GiB on one H200: LoRA of rank 64, a pack of 8,192, layers compiled (LOG.md)."""
    phase = train_phase(
        "llama-3.1-8b", "h200", "train.pack_tokens=8192", "data.max_length=1024", "method.dropout=0"
    )
    assert phase.low_bytes < 51.4 * GIB < phase.high_bytes
    assert phase.peak_bytes == pytest.approx(51.4 * GIB, rel=0.15)


def test_items_add_up_and_each_says_how() -> None:
    for method in ("lora", "qlora", "full"):
        for phase in memory_of(
            model_of("llama-3.2-1b"), recipe_of(f"method.kind={method}"), planned_device(recipe_of(), "a100")
        ).values():
            assert sum(item.bytes for item in phase.items) == pytest.approx(phase.peak_bytes, abs=20)
            assert phase.low_bytes <= phase.peak_bytes <= phase.high_bytes
            assert all(item.how and item.bytes > 0 for item in phase.items)


def test_weights_follow_the_method() -> None:
    def weights(method: str, *more: str) -> int:
        phase = train_phase("llama-3.1-8b", "h100", f"method.kind={method}", *more)
        return int(next(item.bytes for item in phase.items if item.name == "weights"))

    numbers = 8_030_261_248
    assert weights("lora") == 2 * numbers
    assert weights("full") == 4 * numbers
    linear = 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336)
    # Dettmers et al. 2023: 4.127 bits a number with double quantization.
    assert weights("qlora") == pytest.approx(linear * 4.127 / 8 + 2 * 2 * 128256 * 4096, rel=1e-6)
    assert weights("qlora", "method.bits=8") > weights("qlora", "method.double_quantization=false") > weights("qlora")  # fmt: skip


@settings(deadline=None, max_examples=20)
@given(
    shape=st.sampled_from(sorted(SHAPES)),
    method=st.sampled_from(["lora", "qlora", "full"]),
    rank=st.sampled_from([8, 64, 256]),
    pack=st.sampled_from([0, 4096, 32768]),
    rows=st.integers(1, 64),
    gpu=st.sampled_from(["t4", "a10", "a100", "h200"]),
)
def test_the_ladder_goes_down_keeps_the_rows_of_a_step_and_can_be_typed(
    shape: str, method: str, rank: int, pack: int, rows: int, gpu: str
) -> None:
    words = [f"method.kind={method}", f"train.batch_size={rows}", f"train.pack_tokens={pack}"]
    words += [f"method.rank={rank}"] if method != "full" else []
    recipe = recipe_of(*words)
    model, device = model_of(shape), planned_device(recipe, gpu)
    rungs = ladder(model, recipe, device, lambda changed: None)
    assert rungs[0].settings == ""
    peaks = [rung.high_bytes for rung in rungs]
    assert peaks == sorted(peaks, reverse=True)
    assert all(not rung.fits for rung in rungs[:-1])
    # What the last one says to type makes the recipe that it speaks of, with as many rows in a step.
    changed = recipe_of(*words, *rungs[-1].settings.split())
    assert changed.rows_per_step() == recipe.rows_per_step()
    memory = memory_of(model, changed, device)
    assert max(phase.high_bytes for phase in memory.values()) == rungs[-1].high_bytes
    assert fits(memory, device) == rungs[-1].fits


def test_nothing_is_said_to_fit_where_the_memory_is_not_known() -> None:
    recipe = recipe_of()
    device = planned_device(recipe, "a10")
    unknown = PlannedDevice(**{**vars(device), "memory_bytes": None})
    assert fits(memory_of(model_of("tiny"), recipe, unknown), unknown) is None
