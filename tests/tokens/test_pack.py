"""Packing loses no row, cuts none, and wastes little."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.floor.errors import DataError
from luthier.tokens.pack import pack_rows, restarting_positions


@given(lengths=st.lists(st.integers(1, 64), max_size=200), pack_tokens=st.integers(64, 256))
def test_packing_loses_no_row_and_overfills_no_pack(lengths: list[int], pack_tokens: int) -> None:
    packs = pack_rows(lengths, pack_tokens=pack_tokens)
    assert sorted(row for pack in packs for row in pack) == list(range(len(lengths)))
    assert all(sum(lengths[row] for row in pack) <= pack_tokens for pack in packs)
    assert packs == sorted(sorted(pack) for pack in packs)
    assert packs == pack_rows(lengths, pack_tokens=pack_tokens)


@given(lengths=st.lists(st.integers(1, 64), min_size=1, max_size=200), pack_tokens=st.integers(64, 256))
def test_no_two_packs_could_have_been_one(lengths: list[int], pack_tokens: int) -> None:
    fills = sorted(sum(lengths[row] for row in pack) for pack in pack_rows(lengths, pack_tokens=pack_tokens))
    assert len(fills) == 1 or fills[0] + fills[1] > pack_tokens


def test_rows_that_fill_packs_exactly_leave_no_gap() -> None:
    assert pack_rows([7, 3, 5, 5, 2, 8], pack_tokens=10) == [[0, 1], [2, 3], [4, 5]]


def test_no_rows_make_no_packs() -> None:
    assert pack_rows([], pack_tokens=8) == []


def test_a_row_longer_than_a_pack_is_refused_with_its_numbers() -> None:
    with pytest.raises(DataError) as caught:
        pack_rows([3, 99, 4], pack_tokens=50)
    assert caught.value.code == "data-long"
    assert "row 1 has 99 tokens" in caught.value.what
    assert "pack of 50" in caught.value.what


def test_a_hundred_thousand_rows_are_packed_in_seconds() -> None:
    lengths = [1 + (row * 7919) % 500 for row in range(100_000)]
    start = time.perf_counter()
    packs = pack_rows(lengths, pack_tokens=2048)
    assert time.perf_counter() - start < 5  # measured 0.15 s; the bound allows for a busy machine
    assert sum(lengths) / (len(packs) * 2048) > 0.99


def test_every_row_of_a_pack_starts_at_position_0() -> None:
    assert restarting_positions([3, 1, 2]).tolist() == [0, 1, 2, 0, 0, 1]
