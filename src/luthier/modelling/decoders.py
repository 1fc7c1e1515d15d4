"""Run a model over prompts and then token by token: the last hidden state of each row, nothing else.

`RowDecoder` serves models whose every layer sees every token, and lets rows leave and join as it goes; `PaddedDecoder` serves the
rest (sliding windows, soft-capped attention, states instead of keys) with Transformers' own cache and masks.

Axes: B rows, T tokens, C hidden width.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from luthier.modelling.attention import SEGMENTS, VARLEN
from luthier.modelling.losses import causal_model
from luthier.modelling.row_cache import ROWS, RowCache, register_row_attention


class Decoder(Protocol):
    """What the answering loop needs of a model."""

    can_join: bool
    """Whether rows may start while others are under way."""

    def start(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Read prompts, as rows behind those under way; returns their last hidden states [B, C]."""

    def step(self, tokens: Sequence[int]) -> Tensor:
        """Take one more token in each row; returns the hidden states of all rows [B, C]."""

    def keep(self, rows: Sequence[int]) -> None:
        """Let all other rows go."""


@contextmanager
def decoding(model: nn.Module, pad_id: int) -> Iterator[Decoder]:
    """A decoder over the model, which is in evaluation mode and uncompiled inside the block and as before after it."""
    register_row_attention()
    config = causal_model(model).config
    is_plain = sees_every_token(config)
    was_training, attention = model.training, config._attn_implementation
    if is_plain:
        config._attn_implementation = ROWS
    elif attention in (SEGMENTS, VARLEN):
        # The training kernels know segments, not the padding and windows of a cache.
        config._attn_implementation = "eager" if _is_capped(config) else "sdpa"
    model.eval()
    try:
        # Compiled layers would be compiled anew for every number of rows and tokens.
        with torch.compiler.set_stance("force_eager"):
            yield RowDecoder(model, pad_id) if is_plain else PaddedDecoder(model, pad_id)
    finally:
        config._attn_implementation = attention
        model.train(was_training)


def sees_every_token(config: Any) -> bool:
    """Whether every layer is plain causal attention over all tokens before."""
    text = config.get_text_config()
    kinds = getattr(text, "layer_types", None)
    if kinds is not None and set(kinds) != {"full_attention"}:
        return False
    has_window = getattr(text, "sliding_window", None) is not None and getattr(
        text, "use_sliding_window", True
    )
    return hasattr(text, "num_attention_heads") and not has_window and not _is_capped(text)


def _is_capped(config: Any) -> bool:
    return getattr(config.get_text_config(), "attn_logit_softcapping", None) is not None


class RowDecoder:
    """Rows with a length and a position of their own each."""

    can_join = True

    def __init__(self, model: nn.Module, pad_id: int) -> None:
        self._decoder: Any = causal_model(model).get_decoder()
        self._device = next(model.parameters()).device
        self._pad_id = pad_id
        self._cache: RowCache | None = None

    def start(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        lengths = [len(prompt) for prompt in prompts]
        longest = max(lengths)
        ids = [[*prompt, *[self._pad_id] * (longest - len(prompt))] for prompt in prompts]
        cache = RowCache(lengths, self._device)
        hidden_BTC: Tensor = self._decoder(
            input_ids=torch.tensor(ids, device=self._device),
            position_ids=torch.arange(longest, device=self._device).expand(len(ids), -1),
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        rows_B = torch.arange(len(ids), device=self._device)
        if self._cache is None:
            self._cache = cache
        else:
            self._cache.join(cache)
        return hidden_BTC[rows_B, cache.lengths_B - 1]

    def step(self, tokens: Sequence[int]) -> Tensor:
        assert self._cache is not None, "start comes first"
        mask = self._cache.open_column()
        hidden_B1C: Tensor = self._decoder(
            input_ids=torch.tensor(tokens, device=self._device)[:, None],
            position_ids=self._cache.lengths_B[:, None],
            attention_mask=mask,
            past_key_values=self._cache,
            use_cache=True,
        ).last_hidden_state
        self._cache.close_column()
        return hidden_B1C[:, 0]

    def keep(self, rows: Sequence[int]) -> None:
        assert self._cache is not None, "start comes first"
        if rows:
            self._cache.keep(rows)
        else:
            self._cache = None


class PaddedDecoder:
    """Rows padded on the left to one length, with Transformers' cache and masks."""

    can_join = False

    def __init__(self, model: nn.Module, pad_id: int) -> None:
        causal = causal_model(model)
        self._config = causal.config
        self._decoder: Any = causal.get_decoder()
        self._device = next(model.parameters()).device
        self._pad_id = pad_id
        self._cache: DynamicCache | None = None
        self._mask_BT = torch.empty(0)

    def start(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        assert self._cache is None, "rows cannot join"
        longest = max(len(prompt) for prompt in prompts)
        ids = [[*[self._pad_id] * (longest - len(prompt)), *prompt] for prompt in prompts]
        mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        self._mask_BT = torch.tensor(mask, device=self._device)
        self._cache = DynamicCache(config=self._config)
        return self._forward(
            torch.tensor(ids, device=self._device), (self._mask_BT.cumsum(1) - 1).clamp(min=0)
        )

    def step(self, tokens: Sequence[int]) -> Tensor:
        self._mask_BT = torch.cat([self._mask_BT, self._mask_BT.new_ones(len(tokens), 1)], dim=1)
        positions_B1 = self._mask_BT.sum(1, keepdim=True) - 1
        return self._forward(torch.tensor(tokens, device=self._device)[:, None], positions_B1)

    def keep(self, rows: Sequence[int]) -> None:
        assert self._cache is not None, "start comes first"
        if not rows:
            self._cache = None
            return
        rows_B = torch.tensor(rows, device=self._device)
        self._mask_BT = self._mask_BT[rows_B]
        self._cache.batch_select_indices(rows_B)

    def _forward(self, ids_BT: Tensor, position_ids_BT: Tensor) -> Tensor:
        hidden_BTC: Tensor = self._decoder(
            input_ids=ids_BT,
            attention_mask=self._mask_BT,
            position_ids=position_ids_BT,
            past_key_values=self._cache,
            use_cache=True,
        ).last_hidden_state
        return hidden_BTC[:, -1]
