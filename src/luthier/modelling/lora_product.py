"""Frozen projections of one input with their adapters as one step of autograd: y_m = x W_m' + b_m + s_m (x A_m') B_m'.

Autograd by itself makes a product, a scaling and a sum of every adapter, forward and backward, and keeps what each of them read.
Here the sums are made by the products (BLAS adds into its output), the low-rank inputs of all members are one product, and so are
the gradients of what comes down. The same numbers as PEFT's, summed in another order. The formula: LoRA (arXiv:2106.09685),
section 4.1, and its derivative.

Axes: T rows of the input, I its width, O outputs of all members, R ranks of all members together.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def lora_product(
    x_TI: Tensor,
    weight_OI: Tensor,
    bias_O: Tensor | None,
    scalings: Sequence[float],
    downs: Sequence[Tensor],
    ups: Sequence[Tensor],
) -> Tensor:
    """The outputs of all members side by side, T x O.

    Of each member: its scaling, its down (rank x I) and its up (outputs x rank). Weight and bias are frozen: no gradient is made
    for them. All tensors are of one format.
    """
    product: Tensor = _LoraProduct.apply(x_TI, weight_OI, bias_O, scalings, *downs, *ups)  # type: ignore[no-untyped-call]
    return product


class _LoraProduct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_TI: Tensor,
        weight_OI: Tensor,
        bias_O: Tensor | None,
        scalings: Sequence[float],
        *adapters: Tensor,
    ) -> Tensor:
        downs, ups = adapters[: len(scalings)], adapters[len(scalings) :]
        down_RI = downs[0] if len(downs) == 1 else torch.cat(downs)
        low_TR = x_TI @ down_RI.t()
        y_TO = x_TI @ weight_OI.t() if bias_O is None else torch.addmm(bias_O, x_TI, weight_OI.t())
        outputs, ranks = [len(up) for up in ups], [len(down) for down in downs]
        parts = zip(
            torch.split(y_TO, outputs, dim=1), torch.split(low_TR, ranks, dim=1), ups, scalings, strict=True
        )
        for part, low, up, scaling in parts:
            part.addmm_(low, up.t(), alpha=scaling)
        ctx.save_for_backward(x_TI, weight_OI, down_RI, low_TR, *ups)
        ctx.scalings, ctx.ranks = scalings, ranks
        return y_TO

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        (gradient_TO,) = gradients
        x_TI, weight_OI, down_RI, low_TR, *ups = ctx.saved_tensors
        gradient_low_TR = torch.empty_like(low_TR)
        of_ups = []
        parts = zip(
            torch.split(gradient_TO, [len(up) for up in ups], dim=1),
            torch.split(low_TR, ctx.ranks, dim=1),
            torch.split(gradient_low_TR, ctx.ranks, dim=1),
            ups,
            ctx.scalings,
            strict=True,
        )
        for part, low, of_low, up, scaling in parts:
            # beta=0: what stands in the target is not read.
            torch.addmm(of_low, part, up, beta=0, alpha=scaling, out=of_low)
            of_ups.append((part.t() @ low).mul_(scaling))
        of_x_TI = None
        if ctx.needs_input_grad[0]:
            of_x_TI = (gradient_TO @ weight_OI).addmm_(gradient_low_TR, down_RI)
        of_downs = torch.split(gradient_low_TR.t() @ x_TI, ctx.ranks)
        return (of_x_TI, None, None, None, *of_downs, *of_ups)
