"""Linear head and cross-entropy in one, with the gradient made on the way forward.

A checkpointed chunk computes its logits twice: 6 FLOPs a head weight and position. Here a chunk's logits become their own gradient in
place, and that becomes the gradient of the hidden states (and of the head, where it is trained) before the chunk is let go: 4 FLOPs,
and never more than a chunk of logits. The idea is that of Liger Kernel's fused linear cross-entropy (Hsu et al. 2024); the
kernel is our own.

Axes: N positions, C hidden width, V vocabulary, R positions of a chunk.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

# A position with this target has no loss and no gradient; fixed shapes are filled up with it.
IGNORED = -100


def can_fuse(head: Any, config: Any) -> bool:
    """Whether the head is a plain matrix whose logits are used as they are: no adapter, no quantized weight, no soft cap."""
    return (
        type(head) is nn.Linear
        and getattr(head, "bias", None) is None
        and head.weight.is_floating_point()
        and not getattr(config, "final_logit_softcapping", None)
    )


def head_loss(hidden_NC: Tensor, weight_VC: Tensor, targets_N: Tensor, *, chunk_rows: int) -> Tensor:
    """Sum of the negative log-likelihoods (nats, fp32 scalar); targets of IGNORED count nothing.

    Products are computed in autocast's format where it is on, else in that of the hidden states; the softmax in fp32.
    """
    device = hidden_NC.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden_NC.dtype
    with torch.autocast(device, enabled=False):
        loss: Tensor = _HeadLoss.apply(hidden_NC, weight_VC, targets_N, dtype, chunk_rows)  # type: ignore[no-untyped-call]
    return loss


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_NC: Tensor, weight_VC: Tensor, targets_N: Tensor, dtype: torch.dtype, chunk_rows: int
    ) -> Tensor:
        hidden, weight = hidden_NC.detach().to(dtype), weight_VC.detach().to(dtype)
        wants_hidden, wants_weight = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
        losses_N = torch.empty(len(targets_N), dtype=torch.float32, device=hidden.device)
        hidden_grad = torch.empty_like(hidden) if wants_hidden else None
        weight_grad = torch.zeros_like(weight, dtype=torch.float32) if wants_weight else None
        for start in range(0, len(targets_N), chunk_rows):
            chunk = slice(start, start + chunk_rows)
            logits_RV = hidden[chunk] @ weight.T
            losses_N[chunk] = softmax_gradient_(logits_RV, targets_N[chunk])
            if hidden_grad is not None:
                torch.mm(logits_RV, weight, out=hidden_grad[chunk])
            if weight_grad is not None:
                weight_grad += logits_RV.T @ hidden[chunk]
        ctx.hidden_grad, ctx.weight_grad = hidden_grad, weight_grad
        ctx.hidden_dtype, ctx.weight_dtype = hidden_NC.dtype, weight_VC.dtype
        return losses_N.sum()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        scale = gradients[0]
        hidden, weight = ctx.hidden_grad, ctx.weight_grad
        ctx.hidden_grad = ctx.weight_grad = None
        return (
            None if hidden is None else (hidden * scale).to(ctx.hidden_dtype),
            None if weight is None else (weight * scale).to(ctx.weight_dtype),
            None,
            None,
            None,
        )


def softmax_gradient_(logits_RV: Tensor, targets_R: Tensor) -> Tensor:
    """Turn logits into the gradient of their cross-entropy, in place; returns the losses (nats, fp32 [R])."""
    if logits_RV.device.type == "cuda":
        from luthier.modelling.head_kernel import softmax_gradient_triton_

        return softmax_gradient_triton_(logits_RV, targets_R)
    return softmax_gradient_torch_(logits_RV, targets_R)


def softmax_gradient_torch_(logits_RV: Tensor, targets_R: Tensor) -> Tensor:
    """The same in plain torch: what the kernel is held against, and what runs without a GPU."""
    log_probabilities_RV = functional.log_softmax(logits_RV.float(), dim=-1)
    is_kept = targets_R != IGNORED
    at_R1 = targets_R.clamp(min=0)[:, None]
    losses_R = -log_probabilities_RV.gather(1, at_R1)[:, 0].masked_fill(~is_kept, 0.0)
    gradient_RV = log_probabilities_RV.exp_()
    gradient_RV.scatter_add_(1, at_R1, gradient_RV.new_full((len(targets_R), 1), -1.0))
    logits_RV.copy_(gradient_RV.masked_fill_(~is_kept[:, None], 0.0))
    return losses_R
