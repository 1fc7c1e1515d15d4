"""Packs keep rows apart: the kernel against separate rows, and gradients that never cross a row."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.floor.errors import EnvironmentFault
from luthier.modelling.attention import (
    SEGMENTS,
    attend_segments,
    choose_attention,
    plan_segments,
    register_attention,
)
from luthier.modelling.losses import summed_loss, token_losses
from tests.tiny import make_tiny

CPU = torch.device("cpu")


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40))
@settings(max_examples=50, deadline=None)
def test_every_token_of_a_pack_has_one_place_in_the_stacks(lengths: list[int]) -> None:
    plan = plan_segments(lengths, device=CPU)
    gathered = torch.cat([stack.gather for stack in plan.stacks])
    assert torch.equal(gathered[plan.place], torch.arange(sum(lengths)))
    assert sum(stack.rows for stack in plan.stacks) == len(lengths)
    area = sum(stack.rows * stack.longest for stack in plan.stacks)
    assert area <= sum(lengths) / 0.75 + 1e-9


def pack(lengths: list[int], vocabulary: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, vocabulary, (1, sum(lengths)), generator=generator)
    return ids, torch.cat([torch.arange(length) for length in lengths])[None]


@pytest.mark.parametrize("family", ["qwen2", "llama"])
@pytest.mark.parametrize("attention", [SEGMENTS, "sdpa", "eager"])
def test_a_packed_loss_is_the_sum_of_the_rows_losses(family: str, attention: str) -> None:
    register_attention()
    model = make_tiny(family)  # type: ignore[arg-type]
    lengths = [7, 3, 19, 7, 1, 11]
    ids, positions = pack(lengths)
    starts = torch.tensor([0, *lengths]).cumsum(0)
    keep = torch.cat(
        [torch.arange(start, start + length - 1) for start, length in zip(starts, lengths, strict=False)]
    )
    model.set_attn_implementation(attention)
    extra = {"segments": plan_segments(lengths, device=CPU)} if attention == SEGMENTS else {}
    packed = summed_loss(model, ids, positions, keep, ids[0, keep + 1], **extra)
    model.set_attn_implementation("eager")
    apart = sum(
        summed_loss(
            model, ids[:, s : s + n], positions[:, s : s + n], torch.arange(n - 1), ids[0, s + 1 : s + n]
        ).item()
        for s, n in zip(starts.tolist(), lengths, strict=False)
    )
    assert packed.item() == pytest.approx(apart, abs=2e-4)
    losses = token_losses(model, ids[:, :7], positions[:, :7], torch.arange(6), ids[0, 1:7])
    assert losses.shape == (6,)


def test_no_gradient_crosses_a_row() -> None:
    lengths = [5, 9, 4]
    torch.manual_seed(0)
    query = torch.randn(1, 4, 18, 8, requires_grad=True)
    key = torch.randn(1, 2, 18, 8, requires_grad=True)
    value = torch.randn(1, 2, 18, 8, requires_grad=True)
    plan = plan_segments(lengths, device=CPU)
    out, _ = attend_segments(torch.nn.Identity(), query, key, value, None, scaling=8**-0.5, segments=plan)
    out[0, 5:14].square().sum().backward()
    for tensor in (query, key, value):
        assert tensor.grad is not None
        assert tensor.grad[0, :, :5].abs().max() == 0
        assert tensor.grad[0, :, 14:].abs().max() == 0
    assert key.grad is not None and key.grad[0, :, 5:14].abs().max() > 0


def test_varlen_attention_on_a_cpu_is_refused_with_the_way_out() -> None:
    with pytest.raises(EnvironmentFault) as caught:
        choose_attention("varlen", CPU)
    assert caught.value.code == "env-device"
    assert "model.attention=auto" in caught.value.render()
    assert choose_attention("auto", CPU) == SEGMENTS
