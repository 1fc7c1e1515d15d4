"""The training loop, read top to bottom: rows, loss, backward, clip, step, log, validate, save, stop.

It owns no policy: what a step holds comes from row_order, how it becomes tensors from batches, the loss from an objective,
the rate from schedule. Every source of randomness is set from (seed, step, micro-batch) before it is used, so the loop carries
no random state and a resumed run is the same run.
"""

import time
from dataclasses import dataclass, field

import torch
from peft import PeftModel
from torch import nn
from torch.optim import Optimizer
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from luthier.config.recipe import Recipe
from luthier.floor.errors import LuthierError
from luthier.floor.log import Listener
from luthier.floor.rundir import RunDir
from luthier.floor.stop import StopFlag
from luthier.knowledge.schedule import learning_rate
from luthier.modelling.device import Precision, peak_memory_bytes
from luthier.tokens.row_order import RowOrder
from luthier.train.batches import BatchMaker
from luthier.train.graphs import StepGraphs
from luthier.train.metrics import MetricsFile, progress_detail
from luthier.train.optimizer import set_learning_rate
from luthier.train.profile import StepProfile
from luthier.train.progress import Progress
from luthier.train.save import save_progress
from luthier.train.step import Ahead, StepResult, autocast, take_step
from luthier.train.trackers import Trackers
from luthier.train.validate import Validator


@dataclass(frozen=True)
class Job:
    """Everything a training needs; assembled by the stage, changed by nobody."""

    recipe: Recipe
    run: RunDir
    model: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerBase
    parameters: dict[str, nn.Parameter]
    optimizer: Optimizer
    scaler: torch.amp.GradScaler
    order: RowOrder
    batches: BatchMaker
    validator: Validator | None
    precision: Precision
    device: torch.device
    identity: dict[str, str]
    """What a checkpoint must agree with to be resumed."""
    flops_per_token: float
    peak_flops: float | None
    metrics: MetricsFile
    trackers: Trackers
    listener: Listener
    stop: StopFlag
    wants_graphs: bool = False
    """Whether steps are to be captured as CUDA graphs; `graphs` has them once the run's state is in place."""
    graphs: StepGraphs | None = None
    ahead: Ahead = field(default_factory=Ahead)


def fit(job: Job, progress: Progress) -> None:
    """Train until the steps are done or patience ends.

    Raises UnhealthyError on a non-finite loss or gradient, and what StopFlag.error makes when a stop was asked for; either way
    the newest checkpoint is valid and every value in it finite.
    """
    clock = Clock(progress)
    job.model.train()
    if progress.validation_is_due:
        if not validate(job, progress):
            raise stopped(job, progress)
        save_progress(job, progress)
    with StepProfile(job, done_steps=progress.step) as profile:
        take_steps(job, progress, clock, profile)


def take_steps(job: Job, progress: Progress, clock: "Clock", profile: StepProfile) -> None:
    """Step after step, with what falls due behind each."""
    train = job.recipe.train
    while progress.step < job.order.total_steps and not progress.stopped_early:
        step = job.order.step(progress.step)
        lr = learning_rate(progress.step, train.schedule, highest=train.lr, total_steps=job.order.total_steps)
        set_learning_rate(job.optimizer, lr)
        profile.before_step(progress.step)
        result = take_step(job, step.micro_batches, number=progress.step)
        count(progress, result)
        clock.tick(progress, result.tokens)
        if profile.after_step(progress.step - 1):
            # Writing the trace took longer than the steps.
            clock.restart()
        is_last = progress.step == job.order.total_steps
        if progress.step % train.log.logging_steps == 0 or is_last or progress.step == 1:
            log_step(job, progress, clock, lr=lr, grad_norm=result.grad_norm)
        is_validated = validation_due(job, ends_epoch=step.ends_epoch, is_last=is_last, number=progress.step)
        if is_validated:
            validate(job, progress)
        if is_validated or is_last or job.stop.is_set or save_due(job, progress.step):
            save_progress(job, progress)
            clock.restart()
            # Looked at behind a save only, so that no stop goes without one; a later signal is served after the next step.
            if job.stop.is_set and (not is_last or progress.validation_is_due):
                raise stopped(job, progress)


def stopped(job: Job, progress: Progress) -> LuthierError:
    """The error that ends a run on request; its state is saved."""
    return job.stop.error(
        f"stopped after step {progress.step} of {job.order.total_steps}; a checkpoint is saved",
        fix=f"Go on where it stopped: luthier train --resume {job.run.path}",
    )


def count(progress: Progress, result: StepResult) -> None:
    """Add a step to the books."""
    progress.step += 1
    progress.rows += result.rows
    progress.tokens += result.tokens
    progress.trained_tokens += result.targets
    progress.skipped_steps += result.was_skipped
    progress.window_loss += result.loss_sum
    progress.window_targets += result.targets
    if progress.first_loss is None:
        progress.first_loss = result.loss_sum / result.targets


class Clock:
    """Time in steps, and tokens a second since the last line of metrics."""

    def __init__(self, progress: Progress) -> None:
        self._before = time.perf_counter()
        self._first_step = progress.step
        self._window_seconds = 0.0
        self._window_tokens = 0
        self._session_seconds = 0.0

    def tick(self, progress: Progress, tokens: int) -> None:
        """A step is done; time spent validating or saving is left out by `restart`."""
        now = time.perf_counter()
        passed, self._before = now - self._before, now
        progress.seconds += passed
        self._session_seconds += passed
        self._window_seconds += passed
        self._window_tokens += tokens

    def restart(self) -> None:
        self._before = time.perf_counter()

    def window_rate(self) -> float:
        """Tokens a second since the last call."""
        rate = self._window_tokens / max(self._window_seconds, 1e-9)
        self._window_seconds, self._window_tokens = 0.0, 0
        return rate

    def seconds_left(self, progress: Progress, total_steps: int) -> float:
        done = max(1, progress.step - self._first_step)
        return self._session_seconds / done * (total_steps - progress.step)


def log_step(job: Job, progress: Progress, clock: Clock, *, lr: float, grad_norm: float) -> None:
    """One line of metrics.jsonl, the trackers, and the line a person watches."""
    rate = clock.window_rate()
    progress.last_loss = progress.window_loss / progress.window_targets
    entry = {
        "step": progress.step,
        "epoch": job.order.epoch_at(progress.step),
        "loss": progress.last_loss,
        "lr": lr,
        "grad_norm": grad_norm,
        "tokens": progress.tokens,
        "trained_tokens": progress.trained_tokens,
        "tokens_per_second": rate,
        "share_of_peak": rate * job.flops_per_token / job.peak_flops if job.peak_flops else None,
        "peak_bytes": peak_memory_bytes(job.device),
        "seconds": progress.seconds,
    }
    progress.window_loss, progress.window_targets = 0.0, 0
    job.metrics.append(entry)
    job.trackers.log(
        progress.step, {f"train/{name}": value for name, value in entry.items() if isinstance(value, float)}
    )
    left = clock.seconds_left(progress, job.order.total_steps)
    job.listener.progress(
        "training", progress.step, job.order.total_steps, progress_detail(entry, seconds_left=left)
    )


def validation_due(job: Job, *, ends_epoch: bool, is_last: bool, number: int) -> bool:
    """Whether the validation rows are looked at after this step."""
    if job.validator is None:
        return False
    every = job.recipe.train.validation.every_steps
    return is_last or (number % every == 0 if every else ends_epoch)


def save_due(job: Job, number: int) -> bool:
    """Whether a checkpoint is written after this step for its own sake."""
    every = job.recipe.train.checkpoint.save_steps
    return bool(every) and number % every == 0


def validate(job: Job, progress: Progress) -> bool:
    """Measure the validation loss, answer the sample prompts, see whether patience has ended; False if a stop cut it short."""
    assert job.validator is not None, "validation_due says no without a validator"
    progress.validation_is_due = True
    with autocast(job.precision, job.device):
        found = job.validator.measure(job.model, step=progress.step, stop=job.stop)
    job.model.train()
    if found is None:
        return False
    progress.validation_is_due = False
    settings = job.recipe.train
    is_best = progress.note_validation(found.loss, keep_best=settings.checkpoint.keep_best)
    job.metrics.append(
        {
            "step": progress.step,
            "validation_loss": found.loss,
            "validation_tokens": found.targets,
            "samples": found.samples,
        }
    )
    job.trackers.log(progress.step, {"validation/loss": found.loss})
    for name, text in found.samples.items():
        job.trackers.text(progress.step, name, text)
    job.listener.say(f"step {progress.step}: validation loss {found.loss:.4f}{' (best)' if is_best else ''}")
    patience = settings.validation.patience
    if patience and progress.validations_without_gain >= patience:
        progress.stopped_early = True
        job.listener.say(f"stopping early: {patience} validations without a better loss")
    return True
