"""The logits by which two models are compared: which positions, how they are computed, how they are kept on the disk.

Rows go through the model one at a time, unpadded and without a cache, by the attention that every reader of the model has.
Only the positions that are compared get logits, and no more of them than a file of REFERENCE_BYTES holds.

Axes: T positions of a row, N compared positions of all rows, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from luthier.floor.files import disk_faults
from luthier.floor.log import Listener, Silent
from luthier.floor.stop import StopFlag
from luthier.measure.parity import LogitDifference, combine, compare_logits

# 880 positions of a vocabulary of 152k, every position of a small one.
REFERENCE_BYTES = 2**29
ATTENTION = "sdpa"
REPEAT = "Repeat the merge: luthier merge"
STOPPED = "the merge was stopped; it left nothing behind"

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ComparedRow:
    """A row of ids and the positions whose logits are compared."""

    ids: tuple[int, ...]
    positions: tuple[int, ...]


def choose_positions(
    rows: Sequence[Sequence[int]], *, vocabulary: int, most_bytes: int = REFERENCE_BYTES
) -> list[ComparedRow]:
    """All positions of all rows, or evenly spaced ones, the last of each row among them, where all are too many."""
    most = max(len(rows), most_bytes // (4 * vocabulary))
    stride = -(-sum(len(ids) for ids in rows) // most)
    return [
        ComparedRow(tuple(ids), tuple(sorted(range(len(ids) - 1, -1, -stride))))
        for ids in rows
        if len(ids) > 0
    ]


def row_logits(model: nn.Module, row: ComparedRow) -> Logits:
    """[T, V] the model's logits at the compared positions, fp32."""
    device = next(model.parameters()).device
    with torch.inference_mode():
        logits_BTV = model(
            input_ids=torch.tensor([row.ids], device=device),
            use_cache=False,
            logits_to_keep=torch.tensor(row.positions, device=device),
        ).logits
    return np.asarray(logits_BTV[0].float().cpu().numpy())


@dataclass(frozen=True)
class KeptLogits:
    """The logits of a model in a file: float32, rows end to end."""

    path: Path
    rows: tuple[ComparedRow, ...]
    vocabulary: int

    def by_row(self) -> Iterator[tuple[ComparedRow, Logits]]:
        """Every row with its logits [T, V], mapped from the file."""
        flat = np.memmap(self.path, dtype="<f4", mode="r").reshape(-1, self.vocabulary)
        start = 0
        for row in self.rows:
            yield row, flat[start : start + len(row.positions)]
            start += len(row.positions)


def keep_logits(
    model: nn.Module,
    rows: Sequence[ComparedRow],
    path: Path,
    *,
    label: str,
    listener: Listener = Silent(),
    stop: StopFlag | None = None,
) -> KeptLogits:
    """Compute the logits of `rows` and keep them in `path`.

    Raises EnvironmentFault if the disk is full, and what StopFlag.check raises.
    """
    vocabulary = 0
    with disk_faults(path), open(path, "wb") as file:
        for logits_TV in _each_row(model, rows, label, listener, stop):
            vocabulary = logits_TV.shape[1]
            file.write(logits_TV.astype("<f4").tobytes())
    return KeptLogits(path, tuple(rows), vocabulary)


def compare_with_kept(
    model: nn.Module,
    kept: KeptLogits,
    *,
    label: str,
    listener: Listener = Silent(),
    stop: StopFlag | None = None,
) -> LogitDifference:
    """How far `model` is from the model whose logits were kept; a vocabulary of another size is infinitely far."""
    return combine(
        _compare_row(truth_TV, logits_TV)
        for (_, truth_TV), logits_TV in zip(
            kept.by_row(), _each_row(model, kept.rows, label, listener, stop), strict=True
        )
    )


def compare_kept(first: KeptLogits, second: KeptLogits) -> LogitDifference:
    """How far the second model is from the first, from their files."""
    pairs = zip(first.by_row(), second.by_row(), strict=True)
    return combine(_compare_row(truth_TV, logits_TV) for (_, truth_TV), (_, logits_TV) in pairs)


def _compare_row(truth_TV: Logits, logits_TV: Logits) -> LogitDifference:
    if truth_TV.shape != logits_TV.shape:
        return LogitDifference(len(truth_TV), np.inf, np.inf, np.inf, 0.0)
    return compare_logits(truth_TV, logits_TV)


def _each_row(
    model: nn.Module,
    rows: Sequence[ComparedRow],
    label: str,
    listener: Listener,
    stop: StopFlag | None,
) -> Iterator[Logits]:
    for done, row in enumerate(rows):
        if stop is not None:
            stop.check(STOPPED, fix=REPEAT)
        listener.progress(label, done, len(rows))
        yield row_logits(model, row)
    listener.progress(label, len(rows), len(rows))
