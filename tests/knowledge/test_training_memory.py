"""The estimate of a training's memory against what was counted and measured, and the ways to make it less."""

from typing import Any

import pytest

from luthier.config.recipe import Recipe
from luthier.knowledge.shapes import SHAPES
from luthier.knowledge.training_memory import (
    DecoderShape,
    estimate_training,
    trained_numbers,
    ways_to_fit,
    weight_bytes,
)

GIB = 2**30
LLAMA_8B = SHAPES["llama-3.1-8b"]
SHAPE = DecoderShape.of(LLAMA_8B)
assert SHAPE is not None


def recipe(**sections: Any) -> Recipe:
    return Recipe.model_validate({"model": {"name": "x"}, "data": {"max_length": 1024}, **sections})


def test_weights_are_counted_as_the_published_model_has_them() -> None:
    assert SHAPE.linear_weights + SHAPE.embedding_weights == pytest.approx(8.03e9, rel=1e-3)
    assert trained_numbers(SHAPE, recipe()) == 167_772_160  # rank 64 on all seven projections, as PEFT counts
    assert weight_bytes(SHAPE, recipe(method={"kind": "qlora"}), compute_bytes=2) / GIB == pytest.approx(
        5.3, abs=0.1
    )


def test_the_estimate_of_a_measured_step_is_near_it() -> None:
    """One pack of 8k tokens, eager layers fused in part, dropout 0, took 51.4 GiB on an H200."""
    packed = recipe(train={"pack_tokens": 8192}, method={"kind": "lora", "dropout": 0.0})
    found = estimate_training(SHAPE, packed, compute_bytes=2, most_logits=2**28)
    assert 0.9 < found.total / (51.4 * GIB) < 1.6


def test_the_ways_come_cheapest_first_and_each_saves_something() -> None:
    ways = ways_to_fit(SHAPE, recipe(), compute_bytes=2, most_logits=2**28)
    assert [way.settings for way in ways] == [
        "train.pack_tokens=2048",
        "train.gradient_checkpointing=true",
        "method.kind=qlora",
        "data.max_length=512",
    ]
    assert all(way.saved_bytes > 0 for way in ways)


def test_before_the_first_step_only_smaller_weights_help() -> None:
    ways = ways_to_fit(SHAPE, recipe(), compute_bytes=2, most_logits=2**28, only_weights=True)
    assert [way.settings for way in ways] == ["method.kind=qlora"]


def test_a_training_of_every_weight_is_told_of_moments_and_adapters() -> None:
    ways = ways_to_fit(SHAPE, recipe(method={"kind": "full"}), compute_bytes=2, most_logits=2**28)
    found = {way.settings: way.saved_bytes for way in ways}
    assert found["train.optimizer.name=adamw_8bit"] / GIB == pytest.approx(8.03e9 * 6 / GIB, rel=1e-2)
    assert found["method.kind=lora"] > found["train.optimizer.name=adamw_8bit"]


def test_rows_that_are_padded_are_made_fewer_in_a_micro_batch() -> None:
    ways = ways_to_fit(
        SHAPE, recipe(train={"packing": False, "batch_size": 8}), compute_bytes=2, most_logits=2**28
    )
    assert ways[0].settings == "train.batch_size=4 train.gradient_accumulation_steps=4"


def test_a_configuration_of_another_kind_gives_no_estimate() -> None:
    assert DecoderShape.of({"model_type": "mamba", "hidden_size": 64}) is None
