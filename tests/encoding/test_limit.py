"""Rows are fitted into max_length token by token as the policy says, and nothing disappears uncounted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.encoding.books import NO_TRAINED_TOKEN, TOO_LONG
from luthier.encoding.limit import FittedBlock, Policy, fit_block
from luthier.text.render import RenderedBlock

ROWS = st.lists(st.lists(st.booleans(), min_size=1, max_size=12), min_size=0, max_size=8)
Expected = list[tuple[int, list[int], list[bool]]]


def make_block(masks: list[list[bool]]) -> RenderedBlock:
    """Rows whose ids count through the block; the first token of a row is never trained."""
    trained = [bit and place > 0 for mask in masks for place, bit in enumerate(mask)]
    return RenderedBlock(
        ids_T=np.arange(len(trained), dtype=np.uint32),
        trained_T=np.array(trained, dtype=bool),
        lengths_N=np.array([len(mask) for mask in masks], dtype=np.int64),
        has_control_text_N=np.zeros(len(masks), dtype=bool),
    )


def fit_row_by_row(block: RenderedBlock, max_length: int, policy: Policy) -> tuple[Expected, int, int]:
    """The same in plain Python: kept rows, rows dropped as too long, rows dropped as untrained."""
    kept: Expected = []
    too_long = untrained = start = 0
    for row, length in enumerate(block.lengths_N.tolist()):
        ids = block.ids_T[start : start + length].tolist()
        mask = block.trained_T[start : start + length].tolist()
        start += length
        if length > max_length and policy == "drop":
            too_long += 1
            continue
        cuts = range(0, length, max_length) if policy == "split" else [0]
        for cut in cuts:
            piece, piece_mask = ids[cut : cut + max_length], mask[cut : cut + max_length]
            piece_mask[0] = False
            if any(piece_mask):
                kept.append((row, piece, piece_mask))
            else:
                untrained += 1
    return kept, too_long, untrained


def rows_of(fitted: FittedBlock) -> Expected:
    ends = np.cumsum(fitted.lengths_M)
    return [
        (int(row), fitted.ids_T[start:end].tolist(), fitted.trained_T[start:end].tolist())
        for row, start, end in zip(fitted.rows_M, ends - fitted.lengths_M, ends, strict=True)
    ]


@pytest.mark.parametrize("policy", ["truncate", "drop", "split"])
@given(masks=ROWS, max_length=st.integers(1, 8))
def test_blocks_are_fitted_as_their_rows_would_be(
    policy: Policy, masks: list[list[bool]], max_length: int
) -> None:
    block = make_block(masks)
    fitted = fit_block(block, max_length=max_length, policy=policy)
    kept, too_long, untrained = fit_row_by_row(block, max_length, policy)
    assert rows_of(fitted) == kept
    assert fitted.dropped[TOO_LONG] == too_long
    assert fitted.dropped[NO_TRAINED_TOKEN] == untrained
    # The books: every row that came in, and every one that splitting made, was kept or dropped for a reason.
    assert len(masks) + fitted.rows_added == len(kept) + sum(fitted.dropped.values())


@pytest.mark.parametrize("policy", ["truncate", "drop", "split"])
@given(masks=ROWS, max_length=st.integers(1, 8))
def test_each_row_says_what_it_lost(policy: Policy, masks: list[list[bool]], max_length: int) -> None:
    block = make_block(masks)
    fitted = fit_block(block, max_length=max_length, policy=policy)
    starts = np.cumsum(block.lengths_N) - block.lengths_N
    assert len(fitted.lost_M2) == len(fitted.lengths_M)
    for (row, ids, mask), (tokens, trained) in zip(rows_of(fitted), fitted.lost_M2.tolist(), strict=True):
        # The ids of a block are its places, so the first one says where a piece begins.
        end = ids[0] + len(ids) if policy == "split" else starts[row] + block.lengths_N[row]
        assert tokens == end - ids[0] - len(ids)
        assert trained == block.trained_T[ids[0] : end].sum() - sum(mask)


@given(masks=ROWS, max_length=st.integers(2, 8))
def test_the_pieces_of_a_row_make_the_row(masks: list[list[bool]], max_length: int) -> None:
    everything = make_block([[True] * len(mask) for mask in masks if len(mask) % max_length != 1])
    fitted = fit_block(everything, max_length=max_length, policy="split")
    assert fitted.ids_T.tolist() == everything.ids_T.tolist()
    assert fitted.rows_added == len(fitted.lengths_M) - len(everything.lengths_N)
    assert fitted.lengths_M.max(initial=0) <= max_length
