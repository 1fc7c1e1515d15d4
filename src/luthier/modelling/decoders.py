"""Which way a model answers prompts, and the way of those that cannot take theirs in slots.

Models whose every layer sees every token answer in slots (slot_decoder.py): rows join and leave as they go. `PaddedDecoder` serves the
rest (sliding windows, soft-capped attention, states instead of keys) with Transformers' own cache and masks.

Axes: B rows, T tokens, C hidden width.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from luthier.floor.log import Listener
from luthier.modelling.attention import SEGMENTS, VARLEN, caps_scores
from luthier.modelling.losses import causal_model
from luthier.modelling.row_cache import ROWS, register_row_attention
from luthier.modelling.slot_decoder import LEAVING_SHARE, Limits, SlotDecoder, shared_prefix


class Decoder(Protocol):
    """What the answering loop needs."""

    can_join: bool
    """Whether rows may start while others are under way."""

    @property
    def prompt_lengths(self) -> list[int]:
        """Of the rows under way."""

    def most_rows(self, rows: int) -> int:
        """How many it takes at once where so many are to be answered and would fit the memory."""

    def start(self, indices: Sequence[int], prompts: Sequence[Sequence[int]]) -> None:
        """Read prompts, under numbers by which their answers will be told."""

    def advance(self) -> list[tuple[int, list[int]]]:
        """Go on with all rows by a step or a few; returns the answers that are done, with the numbers of their prompts."""

    def close(self) -> None:
        """Give the memory back."""


@contextmanager
def decoding(
    model: nn.Module, limits: Limits, *, prompts: Sequence[Sequence[int]], pad_id: int, listener: Listener
) -> Iterator[Decoder]:
    """A decoder for these prompts over the model, which is in evaluation mode and uncompiled inside the block and as before after it."""
    register_row_attention()
    config = causal_model(model).config
    is_plain = sees_every_token(config)
    was_training, attention = model.training, config._attn_implementation
    if is_plain:
        config._attn_implementation = ROWS
    elif attention in (SEGMENTS, VARLEN):
        # The training kernels know segments, not the padding and windows of a cache.
        config._attn_implementation = "eager" if caps_scores(config.to_dict()) else "sdpa"
    model.eval()
    decoder: Decoder = (
        SlotDecoder(model, limits, prefix=shared_prefix(prompts), listener=listener)
        if is_plain
        else PaddedDecoder(model, limits, pad_id=pad_id)
    )
    try:
        # Compiled layers would be compiled anew for every number of rows and tokens.
        with torch.compiler.set_stance("force_eager"):
            yield decoder
    finally:
        decoder.close()
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
    return hasattr(text, "num_attention_heads") and not has_window and not caps_scores(text.to_dict())


@dataclass
class Row:
    """A prompt under way: its number, its length, and the answer so far."""

    index: int
    prompt_tokens: int
    answer: list[int] = field(default_factory=list)
    has_ended: bool = False


class PaddedDecoder:
    """Rows padded on the left to one length, with Transformers' cache and masks; none joins while others are under way."""

    can_join = False

    def __init__(self, model: nn.Module, limits: Limits, *, pad_id: int) -> None:
        causal = causal_model(model)
        self._config = causal.config
        self._decoder: Any = causal.get_decoder()
        self._head: Any = causal.get_output_embeddings()
        self._device = next(model.parameters()).device
        self._limits = limits
        self._pad_id = pad_id
        self._rows: list[Row] = []
        self._cache: DynamicCache | None = None
        self._mask_BT = torch.empty(0)

    @property
    def prompt_lengths(self) -> list[int]:
        return [row.prompt_tokens for row in self._rows]

    def most_rows(self, rows: int) -> int:
        return rows

    def start(self, indices: Sequence[int], prompts: Sequence[Sequence[int]]) -> None:
        assert not self._rows, "rows cannot join"
        self._rows = [Row(index, len(prompt)) for index, prompt in zip(indices, prompts, strict=True)]
        longest = max(len(prompt) for prompt in prompts)
        ids = [[*[self._pad_id] * (longest - len(prompt)), *prompt] for prompt in prompts]
        mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        self._mask_BT = torch.tensor(mask, device=self._device)
        self._cache = DynamicCache(config=self._config)
        position_ids_BT = (self._mask_BT.cumsum(1) - 1).clamp(min=0)
        self._take(self._forward(torch.tensor(ids, device=self._device), position_ids_BT))

    def advance(self) -> list[tuple[int, list[int]]]:
        finished = self._let_go()
        if self._rows:
            last_B1 = torch.tensor([row.answer[-1] for row in self._rows], device=self._device)[:, None]
            self._mask_BT = torch.cat([self._mask_BT, self._mask_BT.new_ones(len(self._rows), 1)], dim=1)
            self._take(self._forward(last_B1, self._mask_BT.sum(1, keepdim=True) - 1))
        return finished

    def close(self) -> None:
        self._cache = None

    def _take(self, hidden_BC: Tensor) -> None:
        """Give each row its likeliest next token, unless it has ended."""
        for row, token in zip(self._rows, self._head(hidden_BC).argmax(-1).tolist(), strict=True):
            if not row.has_ended:
                row.answer.append(token)
                row.has_ended = (
                    token in self._limits.stop_ids or len(row.answer) >= self._limits.most_new_tokens
                )

    def _let_go(self) -> list[tuple[int, list[int]]]:
        """Let the ended rows leave once they are many."""
        staying = [place for place, row in enumerate(self._rows) if not row.has_ended]
        if len(self._rows) - len(staying) < max(1.0, LEAVING_SHARE * len(self._rows)):
            return []
        finished = [(row.index, row.answer) for row in self._rows if row.has_ended]
        self._rows = [self._rows[place] for place in staying]
        if not staying:
            self._cache = None
            return finished
        assert self._cache is not None, "rows under way have a cache"
        rows_B = torch.tensor(staying, device=self._device)
        self._mask_BT = self._mask_BT[rows_B]
        self._cache.batch_select_indices(rows_B)
        return finished

    def _forward(self, ids_BT: Tensor, position_ids_BT: Tensor) -> Tensor:
        hidden_BTC: Tensor = self._decoder(
            input_ids=ids_BT,
            attention_mask=self._mask_BT,
            position_ids=position_ids_BT,
            past_key_values=self._cache,
            use_cache=True,
        ).last_hidden_state
        return hidden_BTC[:, -1]
