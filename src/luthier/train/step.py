"""One optimizer step: the gradient of the mean loss over all trained tokens of the step, however it is cut, and the update.

On CUDA the host runs ahead: the update is enqueued before anyone has read the loss, and a step whose gradient is not finite is
left out by the device itself; while the device computes, the host makes the next step's batches. What a step leaves behind is the
same everywhere: a non-finite step never touches the weights.
"""

import contextlib
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from luthier.floor.errors import UnhealthyError
from luthier.modelling.device import Precision
from luthier.tokens.order import derive_seed
from luthier.train.batches import MicroBatch
from luthier.train.objectives.next_token import next_token_loss
from luthier.train.optimizer import skips_on_device

if TYPE_CHECKING:
    from luthier.train.loop import Job

# Below this loss scale fp16 gradients overflow for another reason than a scale that is too high.
LEAST_LOSS_SCALE = 1.0


@dataclass(frozen=True)
class StepResult:
    """What one optimizer step did."""

    loss_sum: float
    """Nats, over the step's trained tokens."""
    grad_norm: float
    rows: int
    tokens: int
    targets: int
    was_skipped: bool


@dataclass
class Ahead:
    """The batches of the step to come, made while the device was busy with the one before."""

    number: int = -1
    batches: list[MicroBatch] = field(default_factory=list)


def take_step(job: "Job", micro_batches: list[list[int]], *, number: int) -> StepResult:
    """Take step `number`, counted from 0.

    Raises UnhealthyError, naming step and rows, if loss or gradient are not finite; the weights are then as before.
    """
    with torch.profiler.record_function("luthier.batch"):
        batches = job.ahead.batches if job.ahead.number == number else make_batches(job, micro_batches)
    targets = sum(batch.trained_tokens for batch in batches)
    assert targets, "the data stage leaves no row without a trained token"
    loss_sum = torch.zeros((), dtype=torch.float64, device=job.device)
    if job.graphs is not None:
        job.graphs.prepare(batches)
    for index, batch in enumerate(batches):
        torch.manual_seed(derive_seed("micro-batch", job.recipe.train.seed, number, index))
        if job.graphs is not None:
            loss_sum += job.graphs.backward(batch, targets)
        else:
            loss_sum += backward(job, batch, targets)
    with torch.profiler.record_function("luthier.optimizer"):
        if skips_on_device(job.optimizer, job.scaler):
            loss_value, norm_value, overflowed = update_on_device(job, loss_sum, number)
        else:
            loss_value, norm_value, overflowed = update_when_finite(job, loss_sum)
    if not (math.isfinite(loss_value) and math.isfinite(norm_value)) and not overflowed:
        raise non_finite(job, batches, loss=loss_value, norm=norm_value, number=number)
    return StepResult(
        loss_sum=loss_value,
        grad_norm=norm_value if not overflowed else 0.0,
        rows=sum(len(batch.rows) for batch in batches),
        tokens=sum(batch.tokens for batch in batches),
        targets=targets,
        was_skipped=overflowed,
    )


def make_batches(job: "Job", micro_batches: list[list[int]]) -> list[MicroBatch]:
    """The micro-batches as tensors on the device."""
    return [job.batches.make(rows) for rows in micro_batches]


def backward(job: "Job", batch: MicroBatch, targets: int | Tensor) -> Tensor:
    """Add the gradient of a micro-batch's share of the mean loss; returns its summed loss."""
    with autocast(job.precision, job.device):
        loss = next_token_loss(job.model, batch)
    job.scaler.scale(loss / targets).backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def update_when_finite(job: "Job", loss_sum: Tensor) -> tuple[float, float, bool]:
    """Look at loss and norm first, then step; returns both and whether the step was left out for the loss scale's sake."""
    job.scaler.unscale_(job.optimizer)
    norm = gradient_norm(job)
    loss_value, norm_value = float(loss_sum), float(norm)
    is_finite = math.isfinite(loss_value) and math.isfinite(norm_value)
    # fp16 gradients overflow while the loss scale is still too high: the scaler leaves the step out and lowers the scale.
    overflowed = not is_finite and math.isfinite(loss_value) and job.scaler.get_scale() > LEAST_LOSS_SCALE
    if is_finite or overflowed:
        job.scaler.step(job.optimizer)
        job.scaler.update()
        job.optimizer.zero_grad(set_to_none=True)
    return loss_value, norm_value, overflowed


def update_on_device(job: "Job", loss_sum: Tensor, number: int) -> tuple[float, float, bool]:
    """Enqueue the step, to be left out by the kernel itself if anything is not finite; make the next batches; then look."""
    if job.graphs is not None:
        norm = job.graphs.update(loss_sum)
    else:
        norm = gradient_norm(job)
        update_if_finite(job, loss_sum, norm)
        job.optimizer.zero_grad(set_to_none=True)
    seen = torch.stack([loss_sum, norm.to(loss_sum.dtype)])
    if number + 1 < job.order.total_steps:
        with torch.profiler.record_function("luthier.batch"):
            job.ahead.batches = make_batches(job, job.order.step(number + 1).micro_batches)
            job.ahead.number = number + 1
    loss_value, norm_value = seen.tolist()
    return loss_value, norm_value, False


def update_if_finite(job: "Job", loss_sum: Tensor, norm: Tensor) -> None:
    """A fused optimizer looks at `found_inf` on the device and leaves weights, moments and step counts alone if it is set."""
    is_bad = ~(torch.isfinite(norm) & torch.isfinite(loss_sum))
    job.optimizer.found_inf = is_bad.float()  # type: ignore[attr-defined]
    job.optimizer.step()


def gradient_norm(job: "Job") -> Tensor:
    """The total norm before clipping; gradients are clipped in place where the recipe says so."""
    parameters = list(job.parameters.values())
    clip_norm = job.recipe.train.optimizer.clip_norm
    return nn.utils.clip_grad_norm_(parameters, clip_norm or math.inf)


def autocast(precision: Precision, device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Compute in 16 bits where the precision says so; fp32 stays as it is."""
    if precision.name == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=precision.dtype)


def non_finite(
    job: "Job", batches: list[MicroBatch], *, loss: float, norm: float, number: int
) -> UnhealthyError:
    """The error that names step and rows; the step was not taken, so weights and checkpoints are clean."""
    rows = [row for batch in batches for row in batch.rows]
    return UnhealthyError(
        "train-nonfinite",
        f"step {number + 1} has loss {loss} and gradient norm {norm}; it was not taken",
        where=job.batches.name_rows(rows),
        why="A learning rate that is too high or a broken row are the usual causes. The newest checkpoint is from before.",
        fix=f"Try a tenth of the rate: luthier train RECIPE train.lr={job.recipe.train.lr / 10:g}",
    )
