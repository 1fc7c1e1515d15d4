"""What a step holds depends on (seed, step) alone, and every epoch visits every row once."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.config.recipe import Recipe
from luthier.floor.errors import UnhealthyError
from luthier.tokens.lengths import KnownLengths
from luthier.tokens.row_order import RowOrder
from luthier.tokens.windows import WINDOW_ROWS


def recipe(**train: Any) -> Recipe:
    return Recipe.model_validate({"model": {"name": "x"}, "data": {"max_length": 64}, "train": train})


@given(
    lengths=st.lists(st.integers(1, 64), min_size=1, max_size=80),
    batch_size=st.integers(1, 5),
    accumulation=st.integers(1, 4),
    packing=st.booleans(),
    padding=st.sampled_from(["longest", "bucketed", "fixed"]),
    tokens_dial=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_every_epoch_holds_every_row_once(
    lengths: list[int], batch_size: int, accumulation: int, packing: bool, padding: str, tokens_dial: bool
) -> None:
    train: dict[str, Any] = {"epochs": 2, "seed": 3}
    if tokens_dial:
        train |= {"tokens_per_step": 128, "pack_tokens": 64}
    else:
        train |= {"batch_size": batch_size, "gradient_accumulation_steps": accumulation, "packing": packing}
        train |= {} if packing else {"padding": padding}
    order = RowOrder(KnownLengths(np.array(lengths)), recipe(**train))
    seen: dict[int, list[int]] = {0: [], 1: []}
    ends = 0
    for number in range(order.total_steps):
        step = order.step(number)
        ends += step.ends_epoch
        for rows in step.micro_batches:
            seen[step.epoch] += rows
            if packing or tokens_dial:
                assert sum(lengths[row] for row in rows) <= order._pack_tokens
    assert ends == 2
    assert sorted(seen[0]) == sorted(seen[1]) == list(range(len(lengths)))
    assert order.epoch_at(order.total_steps) == 2


def test_a_step_holds_the_same_rows_packed_or_not() -> None:
    lengths = np.random.default_rng(0).integers(1, 64, size=50)
    packed = RowOrder(KnownLengths(lengths), recipe(batch_size=4, gradient_accumulation_steps=2))
    plain = RowOrder(
        KnownLengths(lengths), recipe(batch_size=4, gradient_accumulation_steps=2, packing=False)
    )
    assert packed.total_steps == plain.total_steps == 21
    for number in range(packed.total_steps):
        flat = [
            sorted(row for rows in order.step(number).micro_batches for row in rows)
            for order in (packed, plain)
        ]
        assert flat[0] == flat[1]


def test_bucketed_batches_hold_rows_of_like_length() -> None:
    lengths = np.clip(np.random.default_rng(0).lognormal(3.5, 0.8, size=5000), 2, 512).astype(int)

    def padded_tokens(padding: str) -> int:
        order = RowOrder(
            KnownLengths(lengths), recipe(batch_size=8, packing=False, padding=padding, epochs=1)
        )
        batches = [rows for number in range(order.total_steps) for rows in order.step(number).micro_batches]
        assert sum(len(rows) < 8 for rows in batches) <= 1
        return sum(len(rows) * int(lengths[rows].max()) for rows in batches)

    tokens = int(lengths.sum())
    assert tokens / padded_tokens("bucketed") > 0.95 > 0.6 > tokens / padded_tokens("longest")


def test_a_step_is_the_same_whoever_asks_first() -> None:
    lengths = np.random.default_rng(0).integers(1, 64, size=300)
    settings_ = {"tokens_per_step": 256, "pack_tokens": 128, "epochs": 3}
    forward, backward = (
        RowOrder(KnownLengths(lengths), recipe(**settings_)),
        RowOrder(KnownLengths(lengths), recipe(**settings_)),
    )
    ahead = [forward.step(number) for number in range(forward.total_steps)]
    back = [backward.step(number) for number in reversed(range(backward.total_steps))]
    assert ahead == back[::-1]


class FoundLengths(KnownLengths):
    """Lengths that nobody knows before they are asked for; remembers how far somebody asked."""

    are_known = False

    def __init__(self, lengths_N: np.ndarray) -> None:
        super().__init__(lengths_N)
        self.furthest: dict[int, int] = {}

    def along(self, order_N: np.ndarray, start: int, stop: int) -> np.ndarray:
        self.furthest[id(order_N)] = max(self.furthest.get(id(order_N), 0), stop)
        return super().along(order_N, start, stop)


@pytest.mark.parametrize(
    "train",
    [
        {"batch_size": 4},
        {"batch_size": 4, "packing": False, "padding": "bucketed"},
        {"tokens_per_step": 1024, "pack_tokens": 512, "most_steps": 300},
    ],
)
def test_steps_are_the_same_without_knowing_lengths_and_ask_for_no_row_beyond_their_window(
    train: dict[str, Any],
) -> None:
    lengths_N = np.random.default_rng(0).integers(1, 64, size=9000)
    settings_ = {"epochs": 2, **train}
    known, found = RowOrder(KnownLengths(lengths_N), recipe(**settings_)), FoundLengths(lengths_N)
    order = RowOrder(found, recipe(**settings_))
    assert found.furthest == {}, "nothing is asked for before the first step"
    assert order.step(0) == known.step(0)
    assert max(found.furthest.values()) <= 2 * WINDOW_ROWS
    assert order.total_steps == known.total_steps
    for number in range(0, order.total_steps, 7):
        assert order.step(number) == known.step(number)


def test_rows_that_are_left_out_leave_their_place_empty() -> None:
    lengths_N = np.random.default_rng(0).integers(0, 3, size=500)
    order = RowOrder(FoundLengths(lengths_N), recipe(batch_size=8, epochs=1))
    seen = [
        row
        for number in range(order.total_steps)
        for rows in order.step(number).micro_batches
        for row in rows
    ]
    assert sorted(seen) == np.flatnonzero(lengths_N).tolist()
    assert order.total_steps == 500 // 16 + 1


def test_a_step_of_which_nothing_is_left_is_refused() -> None:
    order = RowOrder(FoundLengths(np.zeros(8, dtype=int)), recipe(batch_size=4))
    with pytest.raises(UnhealthyError) as caught:
        order.step(0)
    assert caught.value.where == "data.tokenization"


@pytest.mark.parametrize(("rows", "pack_tokens"), [(3_000, 2_048), (60_000, 16_384), (100_000, 65_536)])
def test_packs_are_nearly_full_with_the_tokens_dial(rows: int, pack_tokens: int) -> None:
    lengths = np.clip(np.random.default_rng(0).lognormal(3.5, 0.8, size=rows), 2, 512).astype(int)
    config = Recipe.model_validate(
        {
            "model": {"name": "x"},
            "data": {"max_length": 512},
            "train": {"epochs": 1, "tokens_per_step": 4 * pack_tokens, "pack_tokens": pack_tokens},
        }
    )
    order = RowOrder(KnownLengths(lengths), config)
    packs = [rows for number in range(order.total_steps) for rows in order.step(number).micro_batches]
    assert sum(map(len, packs)) == rows
    assert lengths.sum() / (pack_tokens * len(packs)) > 0.97


@pytest.mark.parametrize(("epochs", "steps"), [(1.0, 7), (0.5, 4), (2.5, 18)])
def test_a_part_of_an_epoch_is_rounded_up_to_a_step(epochs: float, steps: int) -> None:
    assert (
        RowOrder(
            KnownLengths(np.full(50, 10)), recipe(epochs=epochs, batch_size=8, gradient_accumulation_steps=1)
        ).total_steps
        == steps
    )


def test_no_rows_is_refused() -> None:
    with pytest.raises(UnhealthyError) as caught:
        RowOrder(KnownLengths(np.array([], dtype=int)), recipe())
    assert caught.value.code == "train-empty"
