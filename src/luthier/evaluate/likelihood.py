"""How well a model foretells the expected answers: the negative log-likelihood of each, teacher-forced, in packs.

No logits of a prompt are computed, and of the rest never more than a chunk lives at once (modelling/losses.py). Rows longer than the
model's context are foretold in windows that share one token, so that every token counts once.

Axes: T tokens of a pack, N targets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from luthier.evaluate.questions import REPEAT, STOPPED, Question
from luthier.floor.errors import ModelError
from luthier.floor.log import Listener
from luthier.floor.stop import StopFlag
from luthier.modelling.attention import SEGMENTS, VARLEN, plan_segments
from luthier.modelling.losses import token_losses
from luthier.tokens.pack import pack_rows

# A pack large enough to fill the hardware. Kernels without segments build a mask of the pack's length squared.
PACK_TOKENS = {"cpu": 4096, "cuda": 16384}
PACK_TOKENS_WITH_MASK = 2048

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Window:
    """A stretch of a row that fits the context."""

    row: int
    ids: tuple[int, ...]
    is_target: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Likelihoods:
    """Nats and targets of every row."""

    nll_N: FloatArray
    tokens_N: npt.NDArray[np.int64]


def measure_likelihoods(
    model: PreTrainedModel,
    questions: Sequence[Question],
    *,
    attention: str,
    context_tokens: int,
    device: torch.device,
    listener: Listener,
    stop: StopFlag,
) -> Likelihoods:
    """The summed negative log-likelihood (nats) of each expected answer, and how many tokens it has.

    Raises ModelError mdl-nan if one is not finite, and what StopFlag.check raises.
    """
    windows = [
        window for row, question in enumerate(questions) for window in cut(row, question, context_tokens)
    ]
    most = PACK_TOKENS[device.type] if attention in (SEGMENTS, VARLEN) else PACK_TOKENS_WITH_MASK
    lengths = [len(window.ids) for window in windows]
    packs = pack_rows(lengths, pack_tokens=max(most, max(lengths)))
    nll_N, tokens_N = np.zeros(len(questions)), np.zeros(len(questions), dtype=np.int64)
    for done, pack in enumerate(packs):
        stop.check(STOPPED, fix=REPEAT)
        listener.progress("losses of the expected answers", done, len(packs))
        members = [windows[index] for index in pack]
        targets = np.array([window.is_target.sum() for window in members])
        owners = np.repeat([window.row for window in members], targets)
        nll_N += np.bincount(
            owners, weights=pack_losses(model, members, attention, device), minlength=len(questions)
        )
        tokens_N += np.bincount(owners, minlength=len(questions))
    listener.progress("losses of the expected answers", len(packs), len(packs))
    refuse_non_finite(nll_N, questions)
    return Likelihoods(nll_N, tokens_N)


def cut(row: int, question: Question, context_tokens: int) -> list[Window]:
    """The windows of one question; each but the first begins with the last token of the one before, which is no target."""
    windows = []
    for start in range(0, max(1, len(question.ids) - 1), max(1, context_tokens - 1)):
        is_target = question.is_target[start : start + context_tokens].copy()
        is_target[0] = False
        windows.append(Window(row, question.ids[start : start + context_tokens], is_target))
    return windows


def pack_losses(
    model: PreTrainedModel, windows: Sequence[Window], attention: str, device: torch.device
) -> FloatArray:
    """The negative log-likelihood of every target of a pack, in order."""
    lengths = [len(window.ids) for window in windows]
    ids_T = np.concatenate([np.array(window.ids, dtype=np.int64) for window in windows])
    positions_T = np.concatenate([np.arange(length) for length in lengths])
    targets_at_N = np.flatnonzero(np.concatenate([window.is_target for window in windows]))
    if len(targets_at_N) == 0:
        return np.zeros(0)
    losses_N = token_losses(
        model,
        torch.from_numpy(ids_T).to(device).unsqueeze(0),
        torch.from_numpy(positions_T).to(device).unsqueeze(0),
        torch.from_numpy(targets_at_N - 1).to(device),
        torch.from_numpy(ids_T[targets_at_N]).to(device),
        **attention_arguments(attention, lengths, device),
    )
    return np.asarray(losses_N.double().cpu().numpy())


def attention_arguments(attention: str, lengths: Sequence[int], device: torch.device) -> dict[str, Any]:
    """What the kernel must know of the rows in a pack; sdpa and eager find them by their positions."""
    if attention == SEGMENTS:
        return {"segments": plan_segments(lengths, device=device)}
    if attention == VARLEN:
        starts = torch.tensor([0, *np.cumsum(lengths).tolist()], dtype=torch.int32, device=device)
        return {"segment_starts": starts, "longest_segment": max(lengths)}
    return {}


def refuse_non_finite(nll_N: FloatArray, questions: Sequence[Question]) -> None:
    """Raise ModelError naming the first row whose loss is no number."""
    bad = np.flatnonzero(~np.isfinite(nll_N))
    if len(bad):
        raise ModelError(
            "mdl-nan",
            f"the model's loss is not finite on {len(bad)} of {len(questions)} rows",
            where=questions[int(bad[0])].origin,
            why="A model whose loss is no number answers at random.",
            fix="Evaluate in fp32 on the CPU to see whether the weights are to blame: model.device=cpu",
        )
