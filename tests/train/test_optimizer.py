"""AdamW over named parameters: what is decayed, and a saved state that goes back to the parameter it belongs to."""

import sys
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn

from luthier.config.train import OptimizerConfig
from luthier.floor.errors import CheckpointError, EnvironmentFault
from luthier.train.optimizer import build_optimizer, optimizer_tensors, restore_optimizer, set_learning_rate

# From this many numbers on, bitsandbytes keeps a tensor's moments in 8 bits.
EIGHT_BIT_NUMBERS = 4096


def make_parameters(*, seed: int = 0) -> dict[str, nn.Parameter]:
    """A matrix large enough for 8 bits, an embedding, a norm's weight and a bias."""
    torch.manual_seed(seed)
    shapes = {"up.weight": (64, 64), "embed_tokens.weight": (64, 64), "norm.weight": (64,), "up.bias": (64,)}
    return {name: nn.Parameter(torch.randn(shape)) for name, shape in shapes.items()}


def build(parameters: Mapping[str, nn.Parameter], **settings: Any) -> torch.optim.Optimizer:
    return build_optimizer(parameters, OptimizerConfig(**settings), lr=0.01)


def take_steps(
    parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer, steps: range
) -> None:
    """Steps whose gradients depend on their number only."""
    for step in steps:
        torch.manual_seed(1000 + step)
        for parameter in parameters.values():
            parameter.grad = torch.randn(parameter.shape)
        optimizer.step()


def test_matrices_are_decayed_and_embeddings_norms_and_biases_are_not() -> None:
    parameters = make_parameters()
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    optimizer = build(parameters, weight_decay=0.5)
    for parameter in parameters.values():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    changed = {name for name in parameters if not torch.equal(parameters[name], before[name])}
    assert changed == {"up.weight"}
    torch.testing.assert_close(parameters["up.weight"].detach(), before["up.weight"] * (1 - 0.01 * 0.5))


def test_the_recipe_s_numbers_reach_every_group() -> None:
    optimizer = build(make_parameters(), beta1=0.8, beta2=0.95, epsilon=1e-6, weight_decay=0.1)
    set_learning_rate(optimizer, 0.25)
    groups = optimizer.param_groups
    assert [(group["lr"], group["betas"], group["eps"]) for group in groups] == [
        (0.25, (0.8, 0.95), 1e-6)
    ] * 2
    assert sorted(group["weight_decay"] for group in groups) == [0.0, 0.1]


@pytest.mark.parametrize("name", ["adamw", "adamw_8bit"])
def test_a_restored_optimizer_goes_on_bit_for_bit(name: str) -> None:
    if name == "adamw_8bit":
        pytest.importorskip("bitsandbytes")
    whole = make_parameters()
    optimizer = build(whole, name=name, weight_decay=0.1)
    take_steps(whole, optimizer, range(3))
    tensors, numbers = optimizer_tensors(optimizer, whole)
    saved = {key: tensor.clone() for key, tensor in tensors.items()}
    resumed = {name: nn.Parameter(parameter.detach().clone()) for name, parameter in whole.items()}
    take_steps(whole, optimizer, range(3, 6))
    later = build(resumed, name=name, weight_decay=0.1)
    restore_optimizer(later, resumed, saved, numbers)
    take_steps(resumed, later, range(3, 6))
    for key in whole:
        assert torch.equal(resumed[key], whole[key]), key
    now, _ = optimizer_tensors(optimizer, whole)
    then, _ = optimizer_tensors(later, resumed)
    assert now.keys() == then.keys()
    assert all(torch.equal(now[key], then[key]) for key in now)


def test_the_8_bit_optimizer_keeps_the_moments_of_matrices_in_bytes_and_learns_as_the_other() -> None:
    pytest.importorskip("bitsandbytes")
    ours, theirs = make_parameters(), make_parameters()
    small, large = build(ours, name="adamw_8bit"), build(theirs)
    take_steps(ours, small, range(5))
    take_steps(theirs, large, range(5))
    tensors, _ = optimizer_tensors(small, ours)
    assert ours["up.weight"].numel() >= EIGHT_BIT_NUMBERS
    assert tensors["up.weight:state1"].dtype == torch.uint8
    assert tensors["up.bias:state1"].dtype == torch.float32
    moved = theirs["up.weight"] - make_parameters()["up.weight"]
    difference = (ours["up.weight"] - theirs["up.weight"]).detach().norm() / moved.detach().norm()
    assert 0 < float(difference) < 0.1


def test_a_missing_8_bit_optimizer_is_named_with_its_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim.adamw", None)
    with pytest.raises(EnvironmentFault) as caught:
        build(make_parameters(), name="adamw_8bit")
    assert caught.value.code == "env-extra"
    assert 'pip install "luthier[qlora]"' in caught.value.fix


def test_a_state_goes_back_by_name_when_the_order_has_changed() -> None:
    parameters = make_parameters()
    optimizer = build(parameters)
    take_steps(parameters, optimizer, range(1))
    tensors, numbers = optimizer_tensors(optimizer, parameters)
    turned = dict(reversed(list(make_parameters().items())))
    later = build(turned)
    restore_optimizer(later, turned, tensors, numbers)
    for name, parameter in turned.items():
        assert torch.equal(later.state[parameter]["exp_avg"], optimizer.state[parameters[name]]["exp_avg"])


@pytest.mark.parametrize("change", ["missing", "foreign"])
def test_a_state_of_other_parameters_is_refused_by_name(change: str) -> None:
    parameters = make_parameters()
    optimizer = build(parameters)
    take_steps(parameters, optimizer, range(1))
    tensors, numbers = optimizer_tensors(optimizer, parameters)
    if change == "missing":
        tensors = {key: tensor for key, tensor in tensors.items() if not key.startswith("up.bias:")}
    else:
        tensors |= {"up.bias2:exp_avg": torch.zeros(1)}
    with pytest.raises(CheckpointError, match=r"up\.bias") as caught:
        restore_optimizer(optimizer, parameters, tensors, numbers)
    assert caught.value.code == "ckpt-mismatch"
