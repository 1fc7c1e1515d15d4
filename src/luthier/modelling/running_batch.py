"""Rows under way whose next token somebody else chooses: they join and leave at any step, each with logits of its own.

`slot_decoder.py` answers a known set of prompts greedily and looks up only now and then; here a server hands every token on, samples
it by each row's own settings, and ends a row when its client leaves. Knows ids and logits only.

Axes: B rows, T tokens, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from luthier.modelling.attention import SEGMENTS, VARLEN, caps_scores, choose_attention, plan_segments
from luthier.modelling.decoders import sees_every_token
from luthier.modelling.losses import causal_model
from luthier.modelling.row_cache import (
    ROWS,
    PromptPass,
    SlotCache,
    StepPass,
    register_row_attention,
    step_bias,
)
from luthier.modelling.slot_decoder import GROWTH, LEAST_ROOM


class RunningBatch(Protocol):
    """Rows under way; the rows' places are 0, 1, ... in the order in which they joined."""

    lengths: list[int]
    """Tokens that each row holds: its prompt and what it was given since."""

    def join(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Read prompts; they become the last rows. Returns the logits [B, V] of the token after each, in fp32."""

    def step(self, tokens: Sequence[int]) -> Tensor:
        """Give every row its next token. Returns the logits [B, V] of the token after it, in fp32."""

    def leave(self, places: Sequence[int]) -> None:
        """Free these rows; those behind them move up."""


@contextmanager
def answering(model: nn.Module) -> Iterator[None]:
    """Inside, the model is ready for running batches: in evaluation mode, uncompiled, with attention over rows where it can."""
    register_row_attention()
    config = causal_model(model).config
    before, was_training = config._attn_implementation, model.training
    if sees_every_token(config):
        config._attn_implementation = ROWS
    elif before in (SEGMENTS, VARLEN):
        config._attn_implementation = "eager" if caps_scores(config.to_dict()) else "sdpa"
    model.eval()
    try:
        with torch.compiler.set_stance("force_eager"), torch.no_grad():
            yield
    finally:
        config._attn_implementation = before
        model.train(was_training)


def make_batch(model: nn.Module) -> RunningBatch:
    """An empty batch over a model inside `answering`; several may share one model."""
    return SlotBatch(model) if sees_every_token(causal_model(model).config) else LoneRows(model)


class SlotBatch:
    """Rows in the first slots of one cache, for models whose every layer sees every token: a step is one pass of all."""

    def __init__(self, model: nn.Module) -> None:
        self._model: Any = causal_model(model)
        self._device = next(model.parameters()).device
        is_fp32 = self._model.dtype == torch.float32 and not torch.is_autocast_enabled(self._device.type)
        self._varlen = choose_attention("auto", self._device, computes_in_fp32=is_fp32) == VARLEN
        self._cache = SlotCache()
        self.lengths: list[int] = []

    def join(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        lengths = [len(prompt) for prompt in prompts]
        assert all(lengths), "a prompt has at least one token"
        first = len(self.lengths)
        self._make_room(first + len(prompts), max(lengths))
        slot_T = self._ids([first + row for row, length in enumerate(lengths) for _ in range(length)])
        position_T = self._ids([place for length in lengths for place in range(length)])
        self.lengths += lengths
        ends = self._ids(lengths).cumsum(0) - 1
        return self._logits(
            self._ids([token for prompt in prompts for token in prompt])[None],
            position_T[None],
            PromptPass(self._cache, slot_T, position_T),
            logits_to_keep=ends,
            **self._packed(lengths),
        )[0]

    def step(self, tokens: Sequence[int]) -> Tensor:
        assert len(tokens) == len(self.lengths), "every row gets a token"
        columns = max(self.lengths) + 1
        self._make_room(len(self.lengths), columns)
        length_B = self._ids(self.lengths)
        logits_B1V = self._logits(
            self._ids(tokens)[:, None],
            length_B[:, None],
            StepPass(self._cache, length_B, columns),
            attention_mask=step_bias(length_B, columns, self._cache.keys[0].dtype),
        )
        self.lengths = [length + 1 for length in self.lengths]
        return logits_B1V[:, 0]

    def leave(self, places: Sequence[int]) -> None:
        gone = set(places)
        staying = [place for place in range(len(self.lengths)) if place not in gone]
        moved = [(source, target) for target, source in enumerate(staying) if source != target]
        self.lengths = [self.lengths[place] for place in staying]
        # One by one and upwards: a row's new place may be where another has just moved away from.
        for source, target in moved:
            self._cache.move(self._ids([source]), self._ids([target]), self.lengths[target])
        if not self.lengths:
            self._cache = SlotCache()

    def _make_room(self, rows: int, columns: int) -> None:
        cache = self._cache
        if rows <= cache.slots and columns <= cache.columns:
            return
        slots = max(rows, cache.slots)
        wide = columns if columns <= cache.columns else max(int(columns * GROWTH), columns + LEAST_ROOM)
        cache.resize(slots, max(wide, cache.columns))

    def _logits(self, ids_BT: Tensor, position_ids_BT: Tensor, cache: Any, **more: Any) -> Tensor:
        found: Tensor = self._model(
            input_ids=ids_BT, position_ids=position_ids_BT, past_key_values=cache, use_cache=True, **more
        ).logits.float()
        return found

    def _packed(self, lengths: Sequence[int]) -> dict[str, Any]:
        """What the attention must know of prompts laid end to end."""
        if not self._varlen:
            return {"segments": plan_segments(lengths, device=self._device)}
        starts = [0]
        for length in lengths:
            starts.append(starts[-1] + length)
        return {
            "segment_starts": torch.tensor(starts, dtype=torch.int32, device=self._device),
            "longest_segment": max(lengths),
        }

    def _ids(self, numbers: Sequence[int]) -> Tensor:
        return torch.tensor(list(numbers), dtype=torch.long, device=self._device)


class LoneRows:
    """Every row by itself, with Transformers' own cache and masks: for sliding windows, soft caps and states."""

    def __init__(self, model: nn.Module) -> None:
        self._model: Any = causal_model(model)
        self._device = next(model.parameters()).device
        self._caches: list[DynamicCache] = []
        self.lengths: list[int] = []

    def join(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        self._caches += [DynamicCache(config=self._model.config) for _ in prompts]
        self.lengths += [0] * len(prompts)
        first = len(self.lengths) - len(prompts)
        return torch.stack([self._read(first + row, prompt) for row, prompt in enumerate(prompts)])

    def step(self, tokens: Sequence[int]) -> Tensor:
        assert len(tokens) == len(self.lengths), "every row gets a token"
        return torch.stack([self._read(row, [token]) for row, token in enumerate(tokens)])

    def leave(self, places: Sequence[int]) -> None:
        gone = set(places)
        staying = [place for place in range(len(self.lengths)) if place not in gone]
        self._caches = [self._caches[place] for place in staying]
        self.lengths = [self.lengths[place] for place in staying]

    def _read(self, row: int, ids: Sequence[int]) -> Tensor:
        ids_1T = torch.tensor([list(ids)], dtype=torch.long, device=self._device)
        found: Tensor = self._model(
            input_ids=ids_1T, past_key_values=self._caches[row], use_cache=True, logits_to_keep=1
        ).logits[0, -1]
        self.lengths[row] += len(ids)
        return found.float()
