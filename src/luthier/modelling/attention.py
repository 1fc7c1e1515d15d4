"""Attention over packs: rows laid end to end, none of which sees another.

Two kernels, registered with Transformers' attention interface, so no model is patched:
  luthier_varlen    CUDA: torch's variable-length attention over the whole pack (flash kernels, no mask)
  luthier_segments  anywhere: the pack is cut into its rows, rows of like length are stacked, and each stack is one causal
                    scaled-dot-product call. A dense block mask costs (pack length)^2; this costs the sum of (row length)^2.

Axes: B batch, H query heads, K key/value heads, T tokens of the pack, D head width, S segments (rows), L longest of a stack.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from luthier.floor.errors import EnvironmentFault

SEGMENTS = "luthier_segments"
VARLEN = "luthier_varlen"

# A stack may waste this share of its area on padding before a new stack is opened. Measured on two CPU cores with rows of
# 40 to 100 tokens: between 0.1 and 0.4 the step time is flat; a stack a row is 2x slower.
MOST_PADDING = 0.25


@dataclass(frozen=True)
class Stack:
    """Rows of like length, to be attended in one call."""

    gather: Tensor
    """[S*L] position in the pack of each place; padding places repeat the row's last token."""
    rows: int
    longest: int


@dataclass(frozen=True)
class SegmentPlan:
    """How to cut a pack into stacks and how to lay the results back."""

    stacks: tuple[Stack, ...]
    place: Tensor
    """[T] place of each token in the stacks laid end to end."""


def plan_segments(lengths: Sequence[int], *, device: torch.device) -> SegmentPlan:
    """Group rows, given by their lengths in pack order, into stacks with little padding."""
    starts = [0]
    for length in lengths:
        starts.append(starts[-1] + length)
    place = torch.empty(starts[-1], dtype=torch.long)
    stacks: list[Stack] = []
    offset = 0
    for group in _groups_of_like_length(lengths):
        longest = max(lengths[row] for row in group)
        columns = torch.arange(longest)
        gather = torch.stack([starts[row] + columns.clamp(max=lengths[row] - 1) for row in group])
        for index, row in enumerate(group):
            place[starts[row] : starts[row + 1]] = offset + index * longest + columns[: lengths[row]]
        stacks.append(Stack(gather.flatten().to(device), len(group), longest))
        offset += len(group) * longest
    return SegmentPlan(tuple(stacks), place.to(device))


def _groups_of_like_length(lengths: Sequence[int]) -> list[list[int]]:
    groups: list[list[int]] = []
    longest = 0
    filled = 0
    for row in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        filled += lengths[row]
        if groups and filled >= (1 - MOST_PADDING) * longest * (len(groups[-1]) + 1):
            groups[-1].append(row)
        else:
            groups.append([row])
            longest = filled = lengths[row]
    return groups


def register_attention() -> None:
    """Make the two kernels known to Transformers under their names; doing it twice changes nothing."""
    AttentionInterface.register(SEGMENTS, attend_segments)
    AttentionMaskInterface.register(SEGMENTS, _no_mask)
    AttentionInterface.register(VARLEN, attend_varlen)
    AttentionMaskInterface.register(VARLEN, _no_mask)


def choose_attention(
    setting: str,
    device: torch.device,
    *,
    computes_in_fp32: bool = False,
    config: Mapping[str, Any] | None = None,
) -> str:
    """The name to give `from_pretrained(attn_implementation=...)` for `model.attention` on `device`.

    The variable-length kernel takes 16-bit numbers only, so an fp32 computation is done segment-wise. A model whose `config` caps
    the scores of its attention, or gives them sinks, is computed by Transformers' own plain attention, which knows both.
    Raises EnvironmentFault if variable-length attention is asked for where there is none.
    """
    register_attention()
    if setting in ("sdpa", "eager"):
        return setting
    if setting == "auto" and config is not None and _is_plain_only(config):
        return "eager"
    if setting == "segments" or (setting == "auto" and device.type != "cuda"):
        return SEGMENTS
    if device.type == "cuda" and not computes_in_fp32 and _has_varlen():
        return VARLEN
    if setting == "auto":
        return SEGMENTS
    raise EnvironmentFault(
        "env-device",
        "model.attention = varlen needs a CUDA device, 16-bit precision and torch 2.10 or later; "
        f"here: {device.type}, {'fp32' if computes_in_fp32 else '16 bits'}, torch {torch.__version__}",
        fix="Take the automatic choice: model.attention=auto",
    )


def _is_plain_only(config: Mapping[str, Any]) -> bool:
    return caps_scores(config) or config.get("model_type") == "gpt_oss"


def caps_scores(config: Mapping[str, Any]) -> bool:
    """Whether attention scores pass a soft cap (Gemma 2), by config.json or a configuration's `to_dict`."""
    text = config.get("text_config") or config
    return text.get("attn_logit_softcapping") is not None


def _has_varlen() -> bool:
    try:
        from torch.nn.attention import varlen
    except ImportError:
        return False
    return hasattr(varlen, "varlen_attn")


def _no_mask(*_: Any, **__: Any) -> None:
    return None


def attend_segments(
    module: nn.Module,
    query_BHTD: Tensor,
    key_BKTD: Tensor,
    value_BKTD: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    segments: SegmentPlan | None = None,
    sliding_window: int | None = None,
    **named: Any,
) -> tuple[Tensor, None]:
    """Causal attention inside each segment; without a plan, inside each row of the batch (right padding is harmless).

    With a `sliding_window` of W a token sees itself and the W - 1 before it. Returns [B, T, H, D], as Transformers expects.
    """
    _refuse_what_is_lost(named)
    repeats = query_BHTD.shape[1] // key_BKTD.shape[1]
    if repeats > 1:
        key_BKTD = key_BKTD.repeat_interleave(repeats, dim=1)
        value_BKTD = value_BKTD.repeat_interleave(repeats, dim=1)
    if segments is None:
        if attention_mask is None:
            attention_mask = _window_mask(query_BHTD, sliding_window)
        is_causal = attention_mask is None and query_BHTD.shape[2] > 1
        out_BHTD = functional.scaled_dot_product_attention(
            query_BHTD,
            key_BKTD,
            value_BKTD,
            attn_mask=attention_mask,
            dropout_p=dropout,
            is_causal=is_causal,
            scale=scaling,
        )
        return out_BHTD.transpose(1, 2), None
    return _attend_stacks(query_BHTD, key_BKTD, value_BKTD, segments, scaling, dropout, sliding_window), None


def _attend_stacks(
    query_BHTD: Tensor,
    key_BHTD: Tensor,
    value_BHTD: Tensor,
    segments: SegmentPlan,
    scaling: float | None,
    dropout: float,
    sliding_window: int | None,
) -> Tensor:
    heads, width = query_BHTD.shape[1], query_BHTD.shape[3]
    results = []
    for stack in segments.stacks:
        query_SHLD, key_SHLD, value_SHLD = (
            part[0]
            .index_select(1, stack.gather)
            .view(heads, stack.rows, stack.longest, width)
            .transpose(0, 1)
            for part in (query_BHTD, key_BHTD, value_BHTD)
        )
        window_LL = _window_mask(query_SHLD, sliding_window)
        out_SHLD = functional.scaled_dot_product_attention(
            query_SHLD,
            key_SHLD,
            value_SHLD,
            attn_mask=window_LL,
            dropout_p=dropout,
            is_causal=window_LL is None,
            scale=scaling,
        )
        results.append(out_SHLD.transpose(1, 2).reshape(stack.rows * stack.longest, heads, width))
    stacked = results[0] if len(results) == 1 else torch.cat(results)
    return stacked.index_select(0, segments.place).unsqueeze(0)


def _window_mask(query_BHLD: Tensor, sliding_window: int | None) -> Tensor | None:
    """[L, L], true where a token may look; None where plain causal attention says the same."""
    length = query_BHLD.shape[2]
    if sliding_window is None or length <= sliding_window:
        return None
    places_L = torch.arange(length, device=query_BHLD.device)
    behind_LL = places_L[:, None] - places_L
    return (behind_LL >= 0) & (behind_LL < sliding_window)


def _refuse_what_is_lost(named: Mapping[str, Any]) -> None:
    """Raise EnvironmentFault if a model hands its attention something that this kernel would leave out."""
    lost = [name for name in ("softcap", "s_aux") if named.get(name) is not None]
    if lost:
        raise EnvironmentFault(
            "env-device",
            f"the model's attention needs {' and '.join(lost)}, which Luthier's kernels do not have",
            fix="Take Transformers' own: model.attention=eager",
        )


def attend_varlen(
    module: nn.Module,
    query_BHTD: Tensor,
    key_BKTD: Tensor,
    value_BKTD: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    segment_starts: Tensor | None = None,
    longest_segment: int = 0,
    sliding_window: int | None = None,
    **named: Any,
) -> tuple[Tensor, None]:
    """Causal attention inside each segment by torch's variable-length kernel.

    With a `sliding_window` of W a token sees itself and the W - 1 before it. `segment_starts` is int32 [S + 1]; its tail may repeat the last value, so that its shape never changes.
    Without it (a generation step, a padded batch) the plain causal kernel is used.
    """
    if segment_starts is None:
        return attend_segments(
            module,
            query_BHTD,
            key_BKTD,
            value_BKTD,
            attention_mask,
            scaling,
            dropout,
            sliding_window=sliding_window,
            **named,
        )
    _refuse_what_is_lost(named)
    from torch.nn.attention.varlen import varlen_attn

    # Rotary embeddings may leave queries and keys in fp32 under autocast; the kernel wants one 16-bit format.
    query, key, value = (
        part[0].transpose(0, 1).to(value_BKTD.dtype) for part in (query_BHTD, key_BKTD, value_BKTD)
    )
    out_THD: Any = varlen_attn(  # a tuple only where more than the output is asked for
        query,
        key,
        value,
        segment_starts,
        segment_starts,
        longest_segment,
        longest_segment,
        scale=scaling,
        window_size=(-1 if sliding_window is None else sliding_window - 1, 0),
    )
    out_BTHD: Tensor = out_THD.unsqueeze(0)
    return out_BTHD, None
