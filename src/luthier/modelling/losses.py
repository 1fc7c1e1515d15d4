"""Next-token cross-entropy where labels are, and nowhere else.

The hidden states of trained positions are gathered before the head, so the logits of prompts are never computed, and the
head runs over chunks, so that no more than a chunk of logits lives at once, in training as in evaluation.

Axes: T tokens, C hidden width, N trained positions, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from luthier.modelling.head_loss import IGNORED, can_fuse, head_loss

# fp32 logits of a chunk: 64 MiB on a CPU, where memory is the user's; on a GPU a chunk must be large enough to fill it.
CHUNK_LOGITS_CPU = 2**24
CHUNK_LOGITS_CUDA = 2**28


def causal_model(model: nn.Module) -> Any:
    """The Transformers model inside an adapter model, or the model itself."""
    wrapped: Any = model
    return wrapped.get_base_model() if hasattr(model, "peft_config") else model


def has_plain_head(model: nn.Module) -> bool:
    """Whether logits are nothing but the head applied to the last hidden state (but for a soft cap).

    Models that scale their logits in other ways go through their own forward.
    """
    config = causal_model(model).config
    return not any(
        getattr(config, name, None) not in (None, 1, 1.0) for name in ("logit_scale", "logits_scaling")
    )


def hidden_states(model: nn.Module, ids_BT: Tensor, position_ids_BT: Tensor, **attention: Any) -> Tensor:
    """The last hidden states, flattened to [B*T, C]. The cache is off: with it, packing is silently wrong."""
    decoder = causal_model(model).get_decoder()
    out = decoder(input_ids=ids_BT, position_ids=position_ids_BT, use_cache=False, **attention)
    hidden_NC: Tensor = out.last_hidden_state.flatten(0, 1)
    return hidden_NC


def head_logits(model: nn.Module, hidden_NC: Tensor) -> Tensor:
    """fp32 logits [N, V] of hidden states, soft-capped where the model does so."""
    causal = causal_model(model)
    logits_NV: Tensor = causal.get_output_embeddings()(hidden_NC).float()
    cap = getattr(causal.config, "final_logit_softcapping", None)
    return torch.tanh(logits_NV / cap) * cap if cap else logits_NV


def chunk_rows(model: nn.Module, device: torch.device) -> int:
    """How many positions' logits fit a chunk."""
    most = CHUNK_LOGITS_CUDA if device.type == "cuda" else CHUNK_LOGITS_CPU
    vocabulary: int = causal_model(model).config.get_text_config().vocab_size
    return max(1, most // vocabulary)


def summed_loss(
    model: nn.Module,
    ids_BT: Tensor,
    position_ids_BT: Tensor,
    keep_N: Tensor,
    targets_N: Tensor,
    **attention: Any,
) -> Tensor:
    """Sum of the negative log-likelihoods (nats, fp32 scalar) of `targets_N`, predicted at flat positions `keep_N`.

    Targets of IGNORED, which fill up fixed shapes, count nothing.
    """
    if not has_plain_head(model):
        logits = model(input_ids=ids_BT, position_ids=position_ids_BT, use_cache=False, **attention).logits
        return functional.cross_entropy(logits.flatten(0, 1)[keep_N].float(), targets_N, reduction="sum")
    hidden_NC = hidden_states(model, ids_BT, position_ids_BT, **attention).index_select(0, keep_N)
    with torch.profiler.record_function("luthier.loss"):
        return _head_and_loss(model, hidden_NC, targets_N)


def _head_and_loss(model: nn.Module, hidden_NC: Tensor, targets_N: Tensor) -> Tensor:
    rows = chunk_rows(model, hidden_NC.device)
    causal = causal_model(model)
    head = causal.get_output_embeddings()
    if hidden_NC.device.type == "cuda" and can_fuse(head, causal.config) and not _computes_in_fp16(hidden_NC):
        return head_loss(hidden_NC, head.weight, targets_N, chunk_rows=rows)
    if len(targets_N) <= rows:
        return _chunk_loss(model, hidden_NC, targets_N)
    total = hidden_NC.new_zeros((), dtype=torch.float32)
    for start in range(0, len(targets_N), rows):
        chunk = slice(start, start + rows)
        # The chunk's logits are computed again in the backward pass instead of being kept.
        total = total + checkpoint(
            _chunk_loss, model, hidden_NC[chunk], targets_N[chunk], use_reentrant=False
        )
    return total


def _chunk_loss(model: nn.Module, hidden_NC: Tensor, targets_N: Tensor) -> Tensor:
    return functional.cross_entropy(
        head_logits(model, hidden_NC), targets_N, reduction="sum", ignore_index=IGNORED
    )


def _computes_in_fp16(hidden_NC: Tensor) -> bool:
    """The fused loss makes its gradient before the loss scale is applied, and fp16 would lose the small ones."""
    is_fp16_autocast = torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda") == torch.float16
    return is_fp16_autocast or hidden_NC.dtype == torch.float16


@torch.no_grad()
def token_losses(
    model: nn.Module,
    ids_BT: Tensor,
    position_ids_BT: Tensor,
    keep_N: Tensor,
    targets_N: Tensor,
    **attention: Any,
) -> Tensor:
    """The negative log-likelihood (nats, fp32 [N]) of each target; never more than a chunk of logits at once."""
    if not has_plain_head(model):
        logits = model(input_ids=ids_BT, position_ids=position_ids_BT, use_cache=False, **attention).logits
        return functional.cross_entropy(logits.flatten(0, 1)[keep_N].float(), targets_N, reduction="none")
    hidden_NC = hidden_states(model, ids_BT, position_ids_BT, **attention).index_select(0, keep_N)
    rows = chunk_rows(model, hidden_NC.device)
    pieces = [
        functional.cross_entropy(
            head_logits(model, hidden_NC[start : start + rows]),
            targets_N[start : start + rows],
            reduction="none",
        )
        for start in range(0, len(targets_N), rows)
    ]
    return torch.cat(pieces) if pieces else hidden_NC.new_zeros(0, dtype=torch.float32)
