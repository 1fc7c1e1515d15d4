"""Answers under way in slots on the device: what each holds, and one step of all of them.

Everything a step needs and changes lies in tensors that stay where they are, so a step can be recorded once as a CUDA graph and
replayed: the host, slow at launching kernels one by one, then launches one a step, and reads what has ended only now and then.

Axes: S slots, B rows of a pass, C hidden width, A longest answer, E tokens that end an answer, L columns.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from luthier.modelling.attention import VARLEN, choose_attention, plan_segments
from luthier.modelling.losses import causal_model
from luthier.modelling.row_cache import (
    PrefixPass,
    PromptPass,
    SlotCache,
    StepPass,
    SuffixPass,
    step_bias,
    suffix_bias,
)

# cuDNN's attention plans each new shape for longer than a whole answer takes; these two start at once.
STEP_KERNELS = [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


class Slots:
    """Slots for answers of at most `most_new_tokens`; a slot whose answer has ended may be taken by another prompt."""

    def __init__(self, model: nn.Module, *, stop_ids: Sequence[int], most_new_tokens: int) -> None:
        self._decoder: Any = causal_model(model).get_decoder()
        self._head: Any = causal_model(model).get_output_embeddings()
        self.device = next(model.parameters()).device
        self.most_new_tokens = most_new_tokens
        self._stop_E = torch.tensor(list(stop_ids), dtype=torch.long, device=self.device)
        self._varlen = (
            choose_attention("auto", self.device, computes_in_fp32=_computes_in_fp32(model)) == VARLEN
        )
        self.cache = SlotCache()
        self._token_S = self._numbers(0)
        self._length_S = self._numbers(0)
        self._answered_S = self._numbers(0)
        self._ended_S = torch.ones(0, dtype=torch.bool, device=self.device)
        # One column more than an answer has: there goes what a slot without a row makes.
        self._answer_SA = torch.zeros(0, most_new_tokens + 1, dtype=torch.long, device=self.device)
        self._graph: torch.cuda.CUDAGraph | None = None

    def _numbers(self, slots: int) -> Tensor:
        return torch.zeros(slots, dtype=torch.long, device=self.device)

    def resize(self, slots: int, columns: int) -> None:
        """Room for so many rows of so many tokens; rows in the slots that remain go on. A recorded step is forgotten."""
        self.forget_step()
        kept = min(slots, self.cache.slots)
        self.cache.resize(slots, columns)
        for name in ("_token_S", "_length_S", "_answered_S", "_answer_SA", "_ended_S"):
            old: Tensor = getattr(self, name)
            new = old.new_full((slots, *old.shape[1:]), 1 if old.dtype == torch.bool else 0)
            new[:kept] = old[:kept]
            setattr(self, name, new)

    def move(self, sources: Sequence[int], targets: Sequence[int], columns: int) -> None:
        """Put rows into other slots; those they leave are free."""
        source_B, target_B = self._on_device(sources), self._on_device(targets)
        self.cache.move(source_B, target_B, columns)
        for tensor in (self._token_S, self._length_S, self._answered_S, self._answer_SA, self._ended_S):
            tensor[target_B] = tensor[source_B]
        self._ended_S[source_B] = True

    def read_prompts(self, prompts: Sequence[Sequence[int]], slots: Sequence[int]) -> None:
        """Read prompts, laid end to end, into these slots, with the first token of each answer."""
        lengths = [len(prompt) for prompt in prompts]
        length_B = self._on_device(lengths)
        starts_B = length_B.cumsum(0) - length_B
        position_T = torch.arange(sum(lengths), device=self.device) - starts_B.repeat_interleave(
            length_B, output_size=sum(lengths)
        )
        slot_B = self._on_device(slots)
        slot_T = slot_B.repeat_interleave(length_B, output_size=sum(lengths))
        hidden_1TC = self._decoder(
            input_ids=self._on_device([token for prompt in prompts for token in prompt])[None],
            position_ids=position_T[None],
            past_key_values=PromptPass(self.cache, slot_T, position_T),
            use_cache=True,
            **self._packed(lengths),
        ).last_hidden_state
        self._begin(slot_B, length_B, hidden_1TC[0, starts_B + length_B - 1])

    def read_prefix(self, prefix: Sequence[int]) -> PrefixPass:
        """Read what all prompts begin with, once."""
        kept = PrefixPass(len(prefix))
        self._decoder(
            input_ids=self._on_device(prefix)[None],
            position_ids=torch.arange(len(prefix), device=self.device)[None],
            past_key_values=kept,
            use_cache=True,
            **self._packed([len(prefix)]),
        )
        return kept

    def read_suffixes(
        self, prefix: PrefixPass, suffixes: Sequence[Sequence[int]], slots: Sequence[int]
    ) -> None:
        """Read what follows a prefix in each prompt, beside one another; the prefix itself is copied into the slots."""
        longest = max(map(len, suffixes))
        padded = [[*suffix, *[suffix[-1]] * (longest - len(suffix))] for suffix in suffixes]
        length_B, slot_B = self._on_device([len(suffix) for suffix in suffixes]), self._on_device(slots)
        dtype = prefix.kept[0][0].dtype
        with self._kernels():
            hidden_BTC = self._decoder(
                input_ids=torch.tensor(padded, device=self.device),
                position_ids=prefix.columns
                + torch.arange(longest, device=self.device).expand(len(slots), -1),
                attention_mask=suffix_bias(prefix.columns, longest, dtype, self.device),
                past_key_values=SuffixPass(self.cache, prefix, slot_B, longest),
                use_cache=True,
            ).last_hidden_state
        rows_B = torch.arange(len(slots), device=self.device)
        self._begin(slot_B, prefix.columns + length_B, hidden_BTC[rows_B, length_B - 1])

    def step(self, slots: int, columns: int) -> None:
        """One token more in each of the first slots, of which none holds `columns` tokens yet."""
        if self._graph is not None:
            self._graph.replay()
            return
        length_S = self._length_S[:slots]
        with self._kernels():
            hidden_S1C = self._decoder(
                input_ids=self._token_S[:slots, None],
                position_ids=length_S[:, None],
                attention_mask=step_bias(length_S, columns, self.cache.keys[0].dtype),
                past_key_values=StepPass(self.cache, length_S, columns),
                use_cache=True,
            ).last_hidden_state
        next_S = self._choose(hidden_S1C[:, 0])
        ended_S, answered_S = self._ended_S[:slots], self._answered_S[:slots]
        place_S = answered_S.masked_fill(ended_S, self.most_new_tokens)
        self._answer_SA[:slots].scatter_(1, place_S[:, None], next_S[:, None])
        # A slot without a row stays as it is: it makes the same token again and again, in one place.
        length_S += ~ended_S
        answered_S += ~ended_S
        self._token_S[:slots] = torch.where(ended_S, self._token_S[:slots], next_S)
        ended_S |= self._ends(next_S) | (answered_S >= self.most_new_tokens)

    def ended(self, slots: int) -> list[bool]:
        """Of the first slots, which have no answer under way. Waits for the device."""
        flags: list[bool] = self._ended_S[:slots].tolist()
        return flags

    def answers(self, slots: Sequence[int]) -> list[list[int]]:
        """What the rows in these slots have answered."""
        slot_B = self._on_device(slots)
        lengths = self._answered_S[slot_B].tolist()
        return [row[:length] for row, length in zip(self._answer_SA[slot_B].tolist(), lengths, strict=True)]

    @property
    def can_record(self) -> bool:
        """Whether this kind of device can replay a step."""
        return self.device.type == "cuda"

    def record_step(self) -> None:
        """Record a step of all slots over all columns; `step` replays it from here on, until the next `resize`.

        Raises RuntimeError where the model waits for the device within a step.
        """
        ended_S = self._ended_S.clone()
        # Nothing moves on while it is tried out and recorded.
        self._ended_S.fill_(True)
        graph = torch.cuda.CUDAGraph()
        stream = _recording_stream(self.device)
        stream.wait_stream(torch.cuda.current_stream(self.device))
        try:
            with torch.cuda.device(self.device), _without_autocast_cache():
                with torch.cuda.stream(stream), _waiting_refused():
                    # Once before, so that libraries set themselves up, and to see that nothing waits: a recording that fails
                    # on it leaves the random generators of the process unusable.
                    self.step(self.cache.slots, self.cache.columns)
                torch.cuda.current_stream(self.device).wait_stream(stream)
                with torch.cuda.graph(graph, stream=stream):
                    self.step(self.cache.slots, self.cache.columns)
        finally:
            torch.cuda.current_stream(self.device).wait_stream(stream)
            self._ended_S.copy_(ended_S)
        self._graph = graph

    def forget_step(self) -> None:
        """Steps are launched kernel by kernel again."""
        if self._graph is not None:
            # One that is still being replayed is freed when it is done.
            self._graph.reset()
            self._graph = None

    def close(self) -> None:
        """Give all memory back; the slots are of no use afterwards."""
        was_recorded = self._graph is not None
        self.forget_step()
        self.cache = SlotCache()
        if was_recorded:
            # What a recording held is kept apart, of no use to anything else until it is given back.
            torch.cuda.empty_cache()

    def _begin(self, slot_B: Tensor, length_B: Tensor, hidden_BC: Tensor) -> None:
        """The first token of answers to prompts of these lengths, of which the last hidden states are known."""
        next_B = self._choose(hidden_BC)
        self._token_S[slot_B] = next_B
        self._length_S[slot_B] = length_B
        self._answered_S[slot_B] = 1
        self._answer_SA[slot_B, 0] = next_B
        self._ended_S[slot_B] = self._ends(next_B) | (self.most_new_tokens <= 1)

    def _choose(self, hidden_BC: Tensor) -> Tensor:
        """The likeliest next token of each row; scaling and capping of logits do not change which one that is."""
        chosen_B: Tensor = self._head(hidden_BC).argmax(-1)
        return chosen_B

    def _ends(self, token_B: Tensor) -> Tensor:
        return (token_B[:, None] == self._stop_E).any(1)

    def _packed(self, lengths: Sequence[int]) -> dict[str, Any]:
        """What the attention must know of prompts laid end to end."""
        if not self._varlen:
            return {"segments": plan_segments(lengths, device=self.device)}
        starts = [0]
        for length in lengths:
            starts.append(starts[-1] + length)
        return {
            "segment_starts": torch.tensor(starts, dtype=torch.int32, device=self.device),
            "longest_segment": max(lengths),
        }

    def _kernels(self) -> Any:
        return sdpa_kernel(STEP_KERNELS) if self.device.type == "cuda" else nullcontext()

    def _on_device(self, numbers: Sequence[int]) -> Tensor:
        return torch.tensor(list(numbers), dtype=torch.long, device=self.device)


def _computes_in_fp32(model: nn.Module) -> bool:
    wrapped: Any = causal_model(model)
    device = next(model.parameters()).device.type
    return wrapped.dtype == torch.float32 and not torch.is_autocast_enabled(device)


@cache
def _recording_stream(device: torch.device) -> torch.cuda.Stream:
    """One for all recordings: cuBLAS keeps a workspace for every stream that it has seen."""
    stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    return stream


@contextmanager
def _waiting_refused() -> Iterator[None]:
    """Inside, whatever makes the host wait for the device raises RuntimeError."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        # torch says that this mode is a prototype, which sees most of what waits but not all.
        warnings.simplefilter("ignore")
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


@contextmanager
def _without_autocast_cache() -> Iterator[None]:
    """Inside, weights cast for autocast are cast anew each time: a recording must not name copies that are freed later."""
    before = torch.is_autocast_cache_enabled()
    torch.clear_autocast_cache()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)
