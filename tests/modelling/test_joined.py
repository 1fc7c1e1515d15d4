"""Joined projections compute what PEFT's layers compute one by one."""

import copy
from functools import partial
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from luthier.modelling.joined import join_projections
from luthier.modelling.lora_product import lora_product
from luthier.modelling.losses import causal_model
from tests.tiny import make_tiny


def adapted(**settings: Any) -> nn.Module:
    torch.manual_seed(0)
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    config = LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": names, **settings})
    model: nn.Module = get_peft_model(make_tiny(), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    return model


def gradients(model: nn.Module) -> tuple[Tensor, dict[str, Tensor]]:
    ids = torch.arange(60)[None] % 250
    logits = model(input_ids=ids, use_cache=False).logits
    loss = nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:])
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_loss_and_every_gradient_are_the_same() -> None:
    judge_loss, judge = gradients(adapted())
    model = adapted()
    layers = len(causal_model(model).get_decoder().layers)
    assert join_projections(model) == 4 * layers  # q k v, o, gate up, down
    loss, ours = gradients(model)
    assert set(ours) == set(judge) and len(ours) == 14 * layers
    torch.testing.assert_close(loss, judge_loss, rtol=1e-6, atol=1e-6)
    for name, gradient in judge.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-4, atol=1e-6)


def test_names_and_weights_stay_where_they_were() -> None:
    model = adapted()
    before = copy.deepcopy(model.state_dict())
    join_projections(model)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_without_adapters_the_base_answers() -> None:
    model: Any = adapted()
    ids = torch.arange(20)[None]
    with torch.no_grad(), model.disable_adapter():
        judge = model(input_ids=ids).logits
        join_projections(model)
        torch.testing.assert_close(model(input_ids=ids).logits, judge)


def test_dropout_is_drawn_for_every_adapter_by_itself() -> None:
    model = adapted(lora_dropout=0.5)
    join_projections(model)
    layer: Any = causal_model(model).get_decoder().layers[0].self_attn
    for projection in (layer.k_proj, layer.v_proj):
        projection.lora_A["default"].weight.data = layer.q_proj.lora_A["default"].weight.data
    hidden = torch.randn(1, 64, layer.q_proj.in_features)
    model.train()
    seen = []
    for projection in (layer.q_proj, layer.k_proj, layer.v_proj):
        projection.lora_dropout["default"].register_forward_hook(lambda *a: seen.append(a[2] == 0))
    layer.q_proj(hidden)
    assert len(seen) == 3
    assert not torch.equal(seen[0], seen[1]) and not torch.equal(seen[1], seen[2])


def test_an_input_of_its_own_is_computed_alone() -> None:
    plain: Any = causal_model(adapted()).get_decoder().layers[0].self_attn
    model = adapted()
    join_projections(model)
    joined: Any = causal_model(model).get_decoder().layers[0].self_attn
    one, other = torch.randn(2, 1, 5, plain.q_proj.in_features)
    with torch.no_grad():
        torch.testing.assert_close(joined.q_proj(one), plain.q_proj(one))
        torch.testing.assert_close(joined.v_proj(other), plain.v_proj(other))
        torch.testing.assert_close(joined.k_proj(other), plain.k_proj(other))
        torch.testing.assert_close(joined.q_proj(other), plain.q_proj(other))


@pytest.mark.parametrize(
    "settings", [{"use_dora": True}, {"lora_bias": True}], ids=["dora", "biased adapters"]
)
def test_what_is_not_plain_stays_alone(settings: dict[str, Any]) -> None:
    assert join_projections(adapted(**settings)) == 0


def test_a_group_that_is_not_whole_is_computed_one_by_one() -> None:
    names = ["q_proj", "v_proj", "up_proj"]
    judge_loss, judge = gradients(adapted(target_modules=names))
    model = adapted(target_modules=names)
    assert join_projections(model) == 3 * len(causal_model(model).get_decoder().layers)
    loss, ours = gradients(model)
    torch.testing.assert_close(loss, judge_loss, rtol=1e-6, atol=1e-6)
    for name, gradient in judge.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-4, atol=1e-6)


def test_one_compiled_layer_serves_all_layers() -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    model = adapted()
    join_projections(model)
    decoder = causal_model(model).get_decoder()
    assert len(decoder.layers) >= 2
    for layer in decoder.layers:
        layer.compile(dynamic=False, backend="eager", fullgraph=True)
    for _ in range(2):
        gradients(model)
    # The first layer's input carries no gradient, the others' does.
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2
    torch._dynamo.reset()


@pytest.mark.parametrize("ranks", [[3], [2, 5, 1]])
@pytest.mark.parametrize("has_bias", [False, True])
def test_the_product_by_hand_has_the_gradients_of_autograd(ranks: list[int], has_bias: bool) -> None:
    torch.manual_seed(1)
    make = partial(torch.randn, dtype=torch.float64)
    outputs = [4, 6, 3][: len(ranks)]
    weight, bias = make(sum(outputs), 7), make(sum(outputs)) if has_bias else None
    x = make(5, 7, requires_grad=True)
    downs = [make(rank, 7, requires_grad=True) for rank in ranks]
    ups = [make(out, rank, requires_grad=True) for out, rank in zip(outputs, ranks, strict=True)]
    scalings = [0.5, 2.0, 1.0][: len(ranks)]

    def by_hand(x: Tensor, *adapters: Tensor) -> Tensor:
        return lora_product(x, weight, bias, scalings, adapters[: len(ranks)], adapters[len(ranks) :])

    bases = nn.functional.linear(x, weight, bias).split(outputs, dim=1)
    judge = [
        base + scaling * (x @ down.t() @ up.t())
        for base, down, up, scaling in zip(bases, downs, ups, scalings, strict=True)
    ]
    torch.testing.assert_close(by_hand(x, *downs, *ups), torch.cat(judge, dim=1))
    assert torch.autograd.gradcheck(by_hand, (x, *downs, *ups))
    # The input of the first layer needs no gradient.
    assert torch.autograd.gradcheck(by_hand, (x.detach(), *downs, *ups))
