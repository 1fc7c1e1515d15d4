"""Which fast paths a recipe takes. What they compute is held in tests/gpu/test_fast_paths.py."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from luthier.modelling.device import PRECISIONS
from luthier.tokens.lengths import KnownLengths
from luthier.tokens.row_order import RowOrder
from luthier.tokens.store import TokenStore
from luthier.train.batches import BatchMaker
from luthier.train.fast_paths import can_capture, fixed_pack_tokens, should_compile
from tests.tiny import make_tiny
from tests.train.runs import make_recipe, random_rows, write_store

CUDA = torch.device("cuda")


@pytest.fixture
def store(tmp_path: Path) -> TokenStore:
    write_store(tmp_path / "store", random_rows(60), "rows.jsonl")
    return TokenStore.open(tmp_path / "store")


def test_short_runs_and_those_of_many_shapes_are_not_compiled(tiny_base: Path) -> None:
    recipe = make_recipe(tiny_base)
    assert not should_compile(recipe, CUDA, total_steps=20)
    assert should_compile(recipe, CUDA, total_steps=2000)
    assert not should_compile(recipe, torch.device("cpu"), total_steps=2000)
    assert not should_compile(make_recipe(tiny_base, train={"packing": False}), CUDA, total_steps=2000)
    assert should_compile(make_recipe(tiny_base, train={"compile": "on"}), CUDA, total_steps=20)


@pytest.mark.parametrize(
    ("sections", "precision", "fixed_tokens", "captured"),
    [
        ({}, "bf16", 512, True),
        ({}, "fp32", 512, True),
        ({}, "fp16", 512, False),
        ({}, "bf16", 0, False),
        ({"train": {"cuda_graphs": False}}, "bf16", 512, False),
        ({"train": {"gradient_checkpointing": True}}, "bf16", 512, False),
        ({"train": {"optimizer": {"name": "adamw_8bit"}}}, "bf16", 512, False),
        ({"method": {"kind": "qlora"}}, "bf16", 512, False),
    ],
)
def test_only_a_step_of_one_shape_that_asks_nothing_is_captured(
    store: TokenStore,
    tiny_base: Path,
    sections: dict[str, Any],
    precision: str,
    fixed_tokens: int,
    captured: bool,
) -> None:
    batches = BatchMaker(store, CUDA, "luthier_varlen", True, 0, fixed_tokens=fixed_tokens)
    recipe = make_recipe(tiny_base, **sections)
    assert can_capture(make_tiny(), recipe, batches, PRECISIONS[precision]) is captured


def test_a_pack_of_the_rows_dial_is_as_long_as_the_fullest(tiny_base: Path) -> None:
    settings = {"batch_size": 4, "gradient_accumulation_steps": 1, "epochs": 1}
    recipe = make_recipe(tiny_base, data={"max_length": 4096}, train=settings)
    lengths_N = np.full(60, 100)
    assert (
        fixed_pack_tokens(recipe, RowOrder(KnownLengths(lengths_N), recipe), 100) == 512
    )  # four rows, to a multiple of 128
    lengths_N[17] = 1000
    order = RowOrder(KnownLengths(lengths_N), recipe)
    assert order.most_tokens_in_pack() == 1300
    assert fixed_pack_tokens(recipe, order, 1000) == 1408
    lengths_N[:] = 4096
    assert (
        fixed_pack_tokens(recipe, RowOrder(KnownLengths(lengths_N), recipe), 4096)
        == recipe.pack_tokens()
        == 16384
    )


def test_a_pack_of_the_tokens_dial_is_as_long_as_the_dial_says(store: TokenStore, tiny_base: Path) -> None:
    recipe = make_recipe(tiny_base, train={"tokens_per_step": 1024, "pack_tokens": 512})
    assert fixed_pack_tokens(recipe, RowOrder(store.lengths, recipe), 40) == 512
