"""The fused head and loss against the plain ones: values and gradients, odd shapes, chunks, ignored targets."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from luthier.modelling.head_loss import IGNORED, can_fuse, head_loss


def plain(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(
        (hidden @ weight.T).float(), targets, reduction="sum", ignore_index=IGNORED
    )


@given(
    st.integers(1, 40),
    st.integers(2, 90),
    st.integers(1, 50),
    st.booleans(),
    st.floats(0.001, 100.0),
)
@settings(max_examples=60, deadline=None)
def test_loss_and_gradients_are_the_same(
    positions: int, vocabulary: int, chunk_rows: int, is_trained: bool, scale: float
) -> None:
    generator = torch.Generator().manual_seed(positions)
    hidden = torch.randn(positions, 8, generator=generator, requires_grad=True)
    weight = torch.randn(vocabulary, 8, generator=generator, requires_grad=is_trained)
    targets = torch.randint(0, vocabulary, (positions,), generator=generator)
    targets[::3] = IGNORED
    judge = plain(hidden, weight, targets)
    wanted = [hidden, weight] if is_trained else [hidden]
    judges = torch.autograd.grad(judge / scale, wanted)
    ours = head_loss(hidden, weight, targets, chunk_rows=chunk_rows)
    torch.testing.assert_close(ours, judge, rtol=1e-5, atol=1e-5)
    for own, theirs in zip(torch.autograd.grad(ours / scale, wanted), judges, strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-4, atol=1e-5 / scale)


def test_under_autocast_the_products_are_16_bits_wide_and_the_gradients_close() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(30, 64, generator=generator, requires_grad=True)
    weight = (torch.randn(200, 64, generator=generator) / 8).requires_grad_()
    targets = torch.randint(0, 200, (30,), generator=generator)
    judge = plain(hidden, weight, targets)
    judges = torch.autograd.grad(judge, [hidden, weight])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = head_loss(hidden, weight, targets, chunk_rows=7)
    assert ours.dtype == torch.float32
    assert ours.item() == pytest.approx(judge.item(), rel=1e-2)
    for own, theirs in zip(torch.autograd.grad(ours, [hidden, weight]), judges, strict=True):
        assert own.dtype == torch.float32
        assert (own - theirs).norm() / theirs.norm() < 1e-2


def test_only_plain_heads_are_fused() -> None:
    class Config:
        final_logit_softcapping = 30.0

    assert can_fuse(nn.Linear(4, 5, bias=False), object())
    assert not can_fuse(nn.Linear(4, 5, bias=True), object())
    assert not can_fuse(nn.Linear(4, 5, bias=False), Config())
    assert not can_fuse(nn.Embedding(4, 5), object())
