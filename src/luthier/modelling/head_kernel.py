"""The cross-entropy kernel of head_loss, in Triton, for CUDA. Imported only where there is a GPU.

Two passes over a row of logits, one program a row: the first finds the largest logit and the sum of exponentials together (Milakov and
Gimelshein 2018), the second writes softmax minus one-hot over the logits.
"""

# Triton reads the annotations of a kernel's arguments, so they are not postponed and not checked.
import torch
import triton
import triton.language as tl
from torch import Tensor

# Measured shapes: 128 k to 152 k columns; 4,096 a turn keep 8 warps busy without spilling.
BLOCK = 4096
WARPS = 8


@triton.jit
def _softmax_gradient(
    logits, row_stride, targets, losses, columns, IGNORED: tl.constexpr, BLOCK: tl.constexpr
):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64)
    logits += row * row_stride
    target = tl.load(targets + row)
    offsets = tl.arange(0, BLOCK)
    if target == IGNORED:
        for start in range(0, columns, BLOCK):
            at = start + offsets
            tl.store(logits + at, tl.zeros([BLOCK], dtype=logits.dtype.element_ty), mask=at < columns)
        tl.store(losses + row, 0.0)
    else:
        highest = float("-inf")
        total = 0.0
        for start in range(0, columns, BLOCK):
            at = start + offsets
            values = tl.load(logits + at, mask=at < columns, other=float("-inf")).to(tl.float32)
            block_highest = tl.max(values, axis=0)
            new_highest = tl.maximum(highest, block_highest)
            total = total * tl.exp(highest - new_highest) + tl.sum(tl.exp(values - new_highest), axis=0)
            highest = new_highest
        log_total = highest + tl.log(total)
        at_target = tl.load(logits + target).to(tl.float32)
        tl.store(losses + row, log_total - at_target)
        # Every thread has read its target before any of them writes over it.
        tl.debug_barrier()
        for start in range(0, columns, BLOCK):
            at = start + offsets
            values = tl.load(logits + at, mask=at < columns, other=float("-inf")).to(tl.float32)
            gradient = tl.exp(values - log_total) - tl.where(at == target, 1.0, 0.0)
            tl.store(logits + at, gradient.to(logits.dtype.element_ty), mask=at < columns)


def softmax_gradient_triton_(logits_RV: Tensor, targets_R: Tensor) -> Tensor:
    """As head_loss.softmax_gradient_torch_; the rows of the logits may be further apart than they are long."""
    from luthier.modelling.head_loss import IGNORED

    assert logits_RV.stride(1) == 1, "the columns of a row lie next to each other"
    losses_R = torch.empty(len(targets_R), dtype=torch.float32, device=logits_RV.device)
    _softmax_gradient[(len(targets_R),)](
        logits_RV,
        logits_RV.stride(0),
        targets_R,
        losses_R,
        logits_RV.shape[1],
        IGNORED=IGNORED,
        BLOCK=BLOCK,
        num_warps=WARPS,
    )
    return losses_R
