"""Micro-batches as tensors: ids, positions, where the loss is, and how the pack is cut.

Three layouts, one record:
  packed for segments    one row of exactly the pack's tokens, a plan for attention.attend_segments
  packed for varlen      one row padded to a fixed length with dummy segments, so that compiled code sees one shape
  padded                 one row a data row, padded on the right, to the longest or to a fixed length; causal attention never
                         looks at the padding

Axes: B rows of the tensor, T tokens, N positions whose next token is trained, S segments.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from luthier.modelling.attention import SEGMENTS, VARLEN, plan_segments
from luthier.tokens.pack import restarting_positions
from luthier.tokens.rows import TrainingRows

ROWS_NAMED = 8


@dataclass(frozen=True)
class MicroBatch:
    """What one forward pass needs."""

    ids_BT: Tensor
    position_ids_BT: Tensor
    keep_N: Tensor
    """Flat positions (in B*T) whose next token is a target."""
    targets_N: Tensor
    tokens: int
    """Real tokens, padding left out."""
    rows: tuple[int, ...]
    attention: dict[str, Any] = field(default_factory=dict)
    """Extra arguments for the attention kernel."""

    @property
    def trained_tokens(self) -> int:
        return len(self.targets_N)


def count_targets(store: TrainingRows, row: int) -> int:
    """Trained tokens of a row that something precedes: the first token of a row is never predicted."""
    return int(store.trained(row)[1:].sum())


@dataclass(frozen=True)
class BatchMaker:
    """Turns row numbers into a MicroBatch on the device."""

    store: TrainingRows
    device: torch.device
    attention: str
    is_packed: bool
    pad_id: int
    fixed_tokens: int = 0
    """Pad packs (varlen layout) or padded rows to this length; 0 leaves packs as they are and pads rows to the longest."""
    fixed_segments: int = 0
    """Length of the segment table in the varlen layout."""
    may_grow: bool = False
    """Whether a pack may hold more rows than the table has room for; it gets a longer one then."""
    most_row_tokens: int = 0
    """Bound of a segment's length, a constant for the kernel."""

    def make(self, rows: list[int]) -> MicroBatch:
        """The micro-batch of these rows, in this order."""
        return self._packed(rows) if self.is_packed else self._padded(rows)

    def name_rows(self, rows: Sequence[int]) -> str:
        """`rows f.jsonl:3, f.jsonl:9 and 12 more`: where they came from, for an error."""
        origins = ", ".join(self.store.origin(row) for row in rows[:ROWS_NAMED])
        more = f" and {len(rows) - ROWS_NAMED} more" if len(rows) > ROWS_NAMED else ""
        return f"rows {origins}{more}"

    def _packed(self, rows: list[int]) -> MicroBatch:
        ids_of_rows = [self.store.ids(row) for row in rows]
        lengths = [len(each) for each in ids_of_rows]
        tokens = sum(lengths)
        ids = np.concatenate(ids_of_rows).astype(np.int64)
        targets_at = _targets_at([self.store.trained(row) for row in rows])
        segment_lengths = list(lengths)
        if self.fixed_tokens > tokens:
            ids = np.concatenate([ids, np.full(self.fixed_tokens - tokens, self.pad_id, dtype=np.int64)])
            segment_lengths += _dummy_segments(self.fixed_tokens - tokens, self.most_row_tokens)
        positions = restarting_positions(segment_lengths)
        return MicroBatch(
            ids_BT=self._put(ids).unsqueeze(0),
            position_ids_BT=self._put(positions).unsqueeze(0),
            keep_N=self._put(targets_at - 1),
            targets_N=self._put(ids[targets_at]),
            tokens=tokens,
            rows=tuple(rows),
            attention=self._attention(segment_lengths),
        )

    def _attention(self, segment_lengths: list[int]) -> dict[str, Any]:
        if self.attention == SEGMENTS:
            return {"segments": plan_segments(segment_lengths, device=self.device)}
        if self.attention == VARLEN:
            starts = np.zeros(max(self.fixed_segments, len(segment_lengths)) + 1, dtype=np.int32)
            starts[1 : len(segment_lengths) + 1] = np.cumsum(segment_lengths)
            starts[len(segment_lengths) + 1 :] = starts[len(segment_lengths)]
            longest = self.most_row_tokens or max(segment_lengths)
            return {"segment_starts": self._put(starts), "longest_segment": longest}
        # sdpa and eager find the rows by their positions, which start again at 0.
        return {}

    def _padded(self, rows: list[int]) -> MicroBatch:
        ids_of_rows = [self.store.ids(row) for row in rows]
        longest = max(self.fixed_tokens, *map(len, ids_of_rows))
        ids = np.full((len(rows), longest), self.pad_id, dtype=np.int64)
        trained = np.zeros((len(rows), longest), dtype=bool)
        for index, row_ids in enumerate(ids_of_rows):
            ids[index, : len(row_ids)] = row_ids
            trained[index, 1 : len(row_ids)] = self.store.trained(rows[index])[1:]
        targets_at = np.flatnonzero(trained)
        positions = np.tile(np.arange(longest), (len(rows), 1))
        return MicroBatch(
            ids_BT=self._put(ids),
            position_ids_BT=self._put(positions),
            keep_N=self._put(targets_at - 1),
            targets_N=self._put(ids.ravel()[targets_at]),
            tokens=sum(map(len, ids_of_rows)),
            rows=tuple(rows),
        )

    def _put(self, array: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(array)
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor


def _targets_at(masks: list[np.ndarray]) -> np.ndarray:
    """Flat positions of the trained tokens of rows laid end to end; a row's first token is never a target."""
    pieces = []
    for mask in masks:
        piece = np.array(mask, dtype=bool)
        piece[0] = False
        pieces.append(piece)
    return np.flatnonzero(np.concatenate(pieces))


def _dummy_segments(tokens: int, most_row_tokens: int) -> list[int]:
    """Lengths of segments that fill the rest of a pack; none is longer than a real row may be."""
    whole, rest = divmod(tokens, most_row_tokens or tokens)
    return [most_row_tokens] * whole + ([rest] if rest else [])
