"""Which sizes the graphs of a run have. The graphs themselves need a GPU: tests/gpu/test_fast_paths.py."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from luthier.floor.errors import EnvironmentFault
from luthier.train.graphs import TARGET_SIZES, capture_faults, choose_sizes


def test_a_step_that_cannot_be_captured_says_how_to_go_on() -> None:
    with pytest.raises(EnvironmentFault, match="operation not permitted") as caught, capture_faults():
        raise RuntimeError("CUDA error: operation not permitted\nwhen stream is capturing")
    assert "train.cuda_graphs=false" in caught.value.fix
    with pytest.raises(torch.OutOfMemoryError), capture_faults():
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_packs_that_are_alike_share_one_size() -> None:
    assert choose_sizes([21_000, 21_500, 20_400], 32_768) == [21_504]


def test_packs_that_differ_have_parts_of_the_pack() -> None:
    assert choose_sizes([100, 900, 1_000, 2_000], 2_048) == [256, 1_024, 2_048]


@given(
    st.integers(1, 40_000).flatmap(
        lambda most: st.tuples(st.just(most), st.lists(st.integers(1, most), min_size=1))
    )
)
def test_every_pack_fits_a_size_and_there_are_few(pack: tuple[int, list[int]]) -> None:
    pack_tokens, targets = pack
    sizes = choose_sizes(targets, pack_tokens)
    assert sizes == sorted(set(sizes)) and len(sizes) <= TARGET_SIZES
    assert max(targets) <= sizes[-1] <= pack_tokens
