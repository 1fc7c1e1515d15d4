"""Keys and values of many rows in slots of one size, for answering many prompts at once.

Token t of a row sits in column t of its slot, whatever the others do. A row that joins takes a free slot, a row that leaves frees it,
and nothing moves; so a step may be recorded once and replayed, and on a machine that replays nothing the slots in use can be kept
together. The passes below are what Transformers' decoders are handed as a cache: each stores what it is given, and returns what the
queries may look at.

Axes: S slots, B rows of a pass, K key/value heads, H query heads, G query heads a key head, T tokens, P tokens of a shared prefix,
L columns, D width, N = B x K.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from luthier.modelling.attention import attend_segments, attend_varlen

ROWS = "luthier_rows"


class SlotCache:
    """Room for `slots` rows of `columns` tokens in every layer; a layer's tensors are made when it first stores something."""

    def __init__(self, slots: int = 0, columns: int = 0) -> None:
        self.slots, self.columns = slots, columns
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def layer(self, index: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [S, K, L, D] of a layer, of the kind of these new ones [., K, ., D]."""
        if index == len(self.keys):
            for tensors, new in ((self.keys, key), (self.values, value)):
                # Zeros, not leftovers of memory: a masked column still takes part as 0 x value, and 0 x NaN is NaN.
                tensors.append(new.new_zeros(self.slots, new.shape[1], self.columns, new.shape[3]))
        return self.keys[index], self.values[index]

    def resize(self, slots: int, columns: int) -> None:
        """Other room, with all that fits it; a layer at a time, so that no two caches stand side by side."""
        for tensors in (self.keys, self.values):
            for index, old in enumerate(tensors):
                new = old.new_zeros(slots, old.shape[1], columns, old.shape[3])
                kept_slots, kept_columns = min(slots, self.slots), min(columns, self.columns)
                new[:kept_slots, :, :kept_columns] = old[:kept_slots, :, :kept_columns]
                tensors[index] = new
        self.slots, self.columns = slots, columns

    def move(self, sources: Tensor, targets: Tensor, columns: int) -> None:
        """Copy the first columns of some slots into others."""
        for tensors in (self.keys, self.values):
            for tensor in tensors:
                tensor[targets, :, :columns] = tensor[sources, :, :columns]


class Pass:
    """What Transformers' decoders ask of a cache besides `update`: they look at it when they make masks, and here every layer
    sees every token and every pass has a mask of its own or needs none."""

    layers: tuple[()] = ()
    is_sliding: tuple[bool, ...] = (False,)
    is_compileable = False

    def __init__(self, columns: int) -> None:
        self.columns = columns

    def update(
        self, key_BKTD: Tensor, value_BKTD: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Store a layer's new keys and values; returns all that its queries may look at."""
        raise NotImplementedError

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Columns held before; positions are always told, so nothing hangs on it."""
        return 0

    def get_query_offset(self, layer_idx: int = 0) -> int:
        return 0

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        return self.columns, 0


class PromptPass(Pass):
    """Prompts laid end to end [1, T] go into their slots: token t into column `column_T[t]` of slot `slot_T[t]`."""

    def __init__(self, cache: SlotCache, slot_T: Tensor, column_T: Tensor) -> None:
        super().__init__(len(slot_T))
        self._cache, self._slot_T, self._column_T = cache, slot_T, column_T

    def update(
        self, key_BKTD: Tensor, value_BKTD: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        keys_SKLD, values_SKLD = self._cache.layer(layer_idx, key_BKTD, value_BKTD)
        keys_SKLD[self._slot_T, :, self._column_T] = key_BKTD[0].transpose(0, 1).to(keys_SKLD.dtype)
        values_SKLD[self._slot_T, :, self._column_T] = value_BKTD[0].transpose(0, 1).to(values_SKLD.dtype)
        return key_BKTD, value_BKTD


class PrefixPass(Pass):
    """What all prompts begin with [1, P], read once and kept."""

    def __init__(self, tokens: int) -> None:
        super().__init__(tokens)
        self.kept: list[tuple[Tensor, Tensor]] = []

    def update(
        self, key_BKTD: Tensor, value_BKTD: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        self.kept.append((key_BKTD, value_BKTD))
        return key_BKTD, value_BKTD


class SuffixPass(Pass):
    """The rest of prompts [B, T], padded on the right, behind their shared prefix; both go into the slots `slot_B`.

    Padding goes into columns that the row's own tokens take before anything looks at them.
    """

    def __init__(self, cache: SlotCache, prefix: PrefixPass, slot_B: Tensor, tokens: int) -> None:
        super().__init__(prefix.columns + tokens)
        self._cache, self._prefix, self._slot_B = cache, prefix, slot_B

    def update(
        self, key_BKTD: Tensor, value_BKTD: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        whole = []
        for buffer, start, rest in zip(
            self._cache.layer(layer_idx, key_BKTD, value_BKTD),
            self._prefix.kept[layer_idx],
            (key_BKTD, value_BKTD),
            strict=True,
        ):
            joined_BKLD = torch.cat([start.expand(len(rest), -1, -1, -1), rest], dim=2)
            buffer[self._slot_B, :, : self.columns] = joined_BKLD.to(buffer.dtype)
            whole.append(joined_BKLD)
        return whole[0], whole[1]


class StepPass(Pass):
    """One token more in each of the first slots, behind the `length_B` tokens that each holds."""

    def __init__(self, cache: SlotCache, length_B: Tensor, columns: int) -> None:
        super().__init__(columns)
        self._cache, self._length_B = cache, length_B
        self._row_B = torch.arange(len(length_B), device=length_B.device)

    def update(
        self, key_BKTD: Tensor, value_BKTD: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        keys_SKLD, values_SKLD = self._cache.layer(layer_idx, key_BKTD, value_BKTD)
        keys_SKLD[self._row_B, :, self._length_B] = key_BKTD[:, :, 0].to(keys_SKLD.dtype)
        values_SKLD[self._row_B, :, self._length_B] = value_BKTD[:, :, 0].to(values_SKLD.dtype)
        rows = len(self._row_B)
        return keys_SKLD[:rows, :, : self.columns], values_SKLD[:rows, :, : self.columns]


def step_bias(length_B: Tensor, columns: int, dtype: torch.dtype) -> Tensor:
    """[B, 1, 1, L]: 0 where the next token of a row may look, its own column included, and minus infinity elsewhere."""
    hidden_BL = torch.arange(columns, device=length_B.device) > length_B[:, None]
    bias_BL = hidden_BL.new_zeros(hidden_BL.shape, dtype=dtype).masked_fill_(hidden_BL, float("-inf"))
    return bias_BL[:, None, None]


def suffix_bias(prefix: int, tokens: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """[1, 1, T, P + T]: the same for tokens behind a prefix, one below the other."""
    hidden_TL = torch.ones(tokens, prefix + tokens, dtype=torch.bool, device=device).triu(prefix + 1)
    bias_TL = hidden_TL.new_zeros(hidden_TL.shape, dtype=dtype).masked_fill_(hidden_TL, float("-inf"))
    return bias_TL[None, None]


def register_row_attention() -> None:
    """Make the kernel known to Transformers; doing it twice changes nothing."""
    AttentionInterface.register(ROWS, attend_rows)
    AttentionMaskInterface.register(ROWS, _no_mask)


def _no_mask(*_: Any, **__: Any) -> None:
    return None


def attend_rows(
    module: nn.Module,
    query_BHTD: Tensor,
    key_BKLD: Tensor,
    value_BKLD: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    segment_starts: Tensor | None = None,
    **packed: Any,
) -> tuple[Tensor, None]:
    """Causal attention over prompts laid end to end or, with a bias, of the newest tokens over all before. Returns [B, T, H, D].

    With a bias the query heads that share a key head are laid out as queries of that head: nothing is repeated.
    """
    if attention_mask is None and segment_starts is not None:
        return attend_varlen(
            module,
            query_BHTD,
            key_BKLD,
            value_BKLD,
            None,
            scaling,
            segment_starts=segment_starts,
            longest_segment=packed["longest_segment"],
        )
    if attention_mask is None:
        return attend_segments(
            module, query_BHTD, key_BKLD, value_BKLD, None, scaling, segments=packed.get("segments")
        )
    rows, heads, tokens, width = query_BHTD.shape
    key_heads = key_BKLD.shape[1]
    query_BKQD = query_BHTD.reshape(rows, key_heads, -1, width)
    is_plain = query_BHTD.device.type == "cpu" and query_BHTD.dtype == key_BKLD.dtype == torch.float32
    if is_plain and tokens == 1:
        scale = width**-0.5 if scaling is None else scaling
        out_BKQD = _attend_by_products(query_BKQD, key_BKLD, value_BKLD, attention_mask, scale)
    else:
        bias = attention_mask.to(query_BHTD.dtype)
        if tokens > 1:
            bias = bias.repeat(1, 1, heads // key_heads, 1)
        out_BKQD = functional.scaled_dot_product_attention(
            query_BKQD,
            key_BKLD.to(query_BHTD.dtype),
            value_BKLD.to(query_BHTD.dtype),
            attn_mask=bias,
            scale=scaling,
        )
    return out_BKQD.reshape(rows, heads, tokens, -1).transpose(1, 2), None


def _attend_by_products(
    query_BKGD: Tensor, key_BKLD: Tensor, value_BKLD: Tensor, bias_B11L: Tensor, scale: float
) -> Tensor:
    """The same by two batched products, for a CPU, whose fused kernel is made for many queries.

    Measured for 128 rows, 2 key heads, 85 columns of width 64 on one AVX2 core: 1.1 ms against 2.4 ms.
    """
    rows, heads, group, width = query_BKGD.shape
    key_NLD, value_NLD = key_BKLD.flatten(0, 1), value_BKLD.flatten(0, 1)
    bias_N1L = bias_B11L.expand(rows, heads, 1, -1).reshape(rows * heads, 1, -1)
    query_NGD = query_BKGD.reshape(rows * heads, group, width)
    scores_NGL = torch.baddbmm(bias_N1L, query_NGD, key_NLD.transpose(1, 2), alpha=scale)
    return torch.bmm(scores_NGL.softmax(-1), value_NLD).view(rows, heads, group, -1)
