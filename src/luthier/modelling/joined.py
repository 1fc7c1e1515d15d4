"""Projections of one input as one product: q, k and v of an attention, gate and up of a feed-forward layer, with their adapters.

Three small products launch three kernels, read the input three times and add three gradients of it; one product does it once.
A projection without company is a group of one: PEFT's layer copies its input to fp32 for the adapter, and keeps the copy. The
modules stay where they are, with their names and their adapters: the frozen weights become views of one joined matrix, and the
members hand out parts of one result. What a member computes is what PEFT computes for it, sums in another order.

Axes: ... leading axes of the input, I its width, O outputs of a member, R rank.
"""

from collections.abc import Sequence
from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn
from torch.nn import functional

from luthier.modelling.lora_product import lora_product

# Names under one parent that take the same input one after the other, as Transformers' families call them.
GROUPS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


def join_projections(model: nn.Module) -> int:
    """Join what can be joined below `model`; returns how many groups were. The others stay as they are."""
    groups, joined = 0, set()
    for parent in model.modules():
        for names in GROUPS:
            members = [getattr(parent, name, None) for name in names]
            if can_join(members):
                JoinedProjections(members)
                joined.update(members)
                groups += 1
    for module in model.modules():
        if module not in joined and can_join([module]):
            JoinedProjections([module])
            groups += 1
    return groups


def can_join(members: Sequence[Any]) -> bool:
    """Whether these are plain LoRA layers over frozen matrices of one width and format, with one adapter each."""
    return all(_is_plain(member) for member in members) and (
        len({(member.base_layer.in_features, member.base_layer.weight.dtype) for member in members}) == 1
        and len({member.base_layer.bias is None for member in members}) == 1
    )


def _is_plain(member: Any) -> bool:
    # The exact type: a quantized layer's is another, and its weight is no matrix.
    if type(member) is not LoraLinear or type(member.base_layer) is not nn.Linear:
        return False
    has_one_adapter = list(member.lora_A) == member.active_adapters
    return (
        has_one_adapter
        and not any(member.use_dora.values())
        and not member.lora_bias[member.active_adapters[0]]
        and not member.base_layer.weight.requires_grad
        and member.base_layer.weight.is_floating_point()
    )


class JoinedProjections:
    """The members of a group; the first that is called computes for all, the others take their part."""

    def __init__(self, members: Sequence[Any]) -> None:
        self._members = list(members)
        self._sizes = [member.base_layer.out_features for member in members]
        weights = [member.base_layer.weight.detach() for member in members]
        self._weight_OI: Tensor = weights[0] if len(weights) == 1 else torch.cat(weights)
        biases = [member.base_layer.bias for member in members]
        self._bias_O = None if biases[0] is None else torch.cat([bias.detach() for bias in biases])
        self._input: Tensor | None = None
        self._waiting: list[Tensor | None] = [None] * len(members)
        for index, (member, weight) in enumerate(
            zip(members, torch.split(self._weight_OI, self._sizes), strict=True)
        ):
            member.base_layer.weight.data = weight
            member.__class__ = JoinedLoraLinear
            member.joined, member.place = self, index

    @property
    def is_on(self) -> bool:
        """Whether adapters are neither switched off nor merged: then the members know better what to do."""
        return not any(member.disable_adapters or member.merged for member in self._members)

    def take(self, index: int, input_I: Tensor) -> Tensor | None:
        """The part of a member, if it was computed for this very input; it is handed out once."""
        part = self._waiting[index] if self._input is input_I else None
        self._waiting[index] = None
        if index == len(self._members) - 1:
            self._input = None
        return part

    def compute(self, index: int, input_I: Tensor) -> Tensor:
        """All parts of this input; returns the member's own and keeps the rest until they are asked for."""
        parts = self._compute(input_I)
        if len(parts) > 1:
            self._input = input_I
            self._waiting = [None if place == index else part for place, part in enumerate(parts)]
        return parts[index]

    def _compute(self, input_I: Tensor) -> Sequence[Tensor]:
        name = self._members[0].active_adapters[0]
        downs = [member.lora_A[name].weight for member in self._members]
        ups = [member.lora_B[name].weight for member in self._members]
        scalings = [member.scaling[name] for member in self._members]
        has_dropout = any(isinstance(member.lora_dropout[name], nn.Dropout) for member in self._members)
        if not has_dropout and _takes_lora_product(input_I, self._weight_OI, *downs, *ups):
            rows = input_I.reshape(-1, input_I.shape[-1])
            product = lora_product(rows, self._weight_OI, self._bias_O, scalings, downs, ups)
            return torch.split(product.view(*input_I.shape[:-1], -1), self._sizes, dim=-1)
        bases = torch.split(functional.linear(input_I, self._weight_OI, self._bias_O), self._sizes, dim=-1)
        if has_dropout:
            # Every adapter drops out inputs of its own, as it does alone.
            lows = [
                functional.linear(member.lora_dropout[name](input_I), down)
                for member, down in zip(self._members, downs, strict=True)
            ]
        else:
            joined = functional.linear(input_I, torch.cat(downs))
            lows = list(torch.split(joined, [len(down) for down in downs], dim=-1))
        raised = [functional.linear(low, up) for low, up in zip(lows, ups, strict=True)]
        parts = zip(bases, raised, scalings, strict=True)
        return [(base + update * scaling).to(base.dtype) for base, update, scaling in parts]


def _takes_lora_product(input_I: Tensor, *weights: Tensor) -> bool:
    """On a CPU, uncompiled, all of one format: a compiler fuses by itself, and autocast would not reach into it."""
    is_eager = input_I.device.type == "cpu" and not torch.compiler.is_compiling()
    is_cast = torch.is_autocast_enabled(input_I.device.type)
    return is_eager and not is_cast and {weight.dtype for weight in weights} == {input_I.dtype}


class JoinedLoraLinear(LoraLinear):
    """A member of a group: the same module with its class exchanged, so that one compiled layer serves all layers.

    (A `forward` put on the instance is an object of its own, and compiled code is made anew for every such object.)
    """

    joined: JoinedProjections
    place: int

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """PEFT's own, by whose names the arguments go, where anything out of the ordinary is asked for."""
        if args or kwargs or not self.joined.is_on:
            alone: Tensor = super().forward(x, *args, **kwargs)
            return alone
        part = self.joined.take(self.place, x)
        return part if part is not None else self.joined.compute(self.place, x)
