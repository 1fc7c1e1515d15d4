"""The step as CUDA graphs: thousands of kernels launched by one call each for a micro-batch and for the update.

A graph replays the very kernels it was captured with, over the same addresses. So every tensor it reads has a fixed place and shape:
batches are copied into static buffers, positions of targets are filled up to one of a few sizes (a graph for each), gradients stay
allocated and are zeroed, the learning rate is a number on the device. Dropout draws from the generator's state at the replay,
which the loop sets before every micro-batch.

Axes: T tokens of a pack, S segments, N positions whose next token is trained.
"""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from luthier.floor.errors import EnvironmentFault
from luthier.modelling.head_loss import IGNORED
from luthier.train.batches import MicroBatch
from luthier.train.optimizer import make_capturable
from luthier.train.step import backward, gradient_norm, update_if_finite

if TYPE_CHECKING:
    from luthier.train.loop import Job

# Sizes that the positions of targets are filled up to, as parts of the pack: an eighth costs 1/16 of the head on average.
TARGET_SIZES = 8
# Where the fullest pack has hardly more targets than the others, one size serves them all.
ONE_SIZE_SPREAD = 1.15
ROUND_TO = 128
# Steps looked at for the sizes; what comes later and is larger gets a graph when it comes.
STEPS_LOOKED_AT = 1000
STEPS_TOKENIZED_FOR_IT = 16
# Eager runs before a capture: the first compiles, the second finds everything warm.
WARM_UP_RUNS = 2


@dataclass(frozen=True)
class BatchGraph:
    """A captured forward and backward pass with the buffers it reads and the loss it leaves."""

    graph: torch.cuda.CUDAGraph
    batch: MicroBatch
    loss: Tensor


class StepGraphs:
    """Captures what a step needs when it is first needed, and replays it from then on."""

    def __init__(self, job: "Job") -> None:
        assert job.device.type == "cuda" and job.batches.is_packed and job.batches.fixed_tokens
        self._job = job
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._targets = torch.ones((), dtype=torch.float32, device=job.device)
        self._graphs: dict[int, BatchGraph] = {}
        self._update: tuple[torch.cuda.CUDAGraph, Tensor, Tensor] | None = None
        self._steps = 0
        self._sizes = choose_sizes(targets_of_packs(job), job.batches.fixed_tokens)
        make_capturable(job.optimizer)
        for parameter in job.parameters.values():
            parameter.grad = torch.zeros_like(parameter)

    def prepare(self, batches: list[MicroBatch]) -> None:
        """Capture what these batches need; called while no gradient of the step is there yet."""
        needed = {self._size_of(batch) for batch in batches}
        if not self._graphs:
            # All at once: a capture in the middle of a run would make one step a hundred times as long as the others.
            needed.update(self._sizes)
        for size in sorted(needed - set(self._graphs), reverse=True):
            with capture_faults():
                self._graphs[size] = self._capture(batches[0], size)
            self._zero_gradients()

    def backward(self, batch: MicroBatch, targets: int) -> Tensor:
        """Add the gradient of the micro-batch's share of the mean loss; returns its summed loss."""
        captured = self._graphs[self._size_of(batch)]
        self._fill(captured.batch, batch)
        self._targets.fill_(targets)
        captured.graph.replay()
        return captured.loss

    def update(self, loss_sum: Tensor) -> Tensor:
        """Clip, step and zero the gradients; returns the norm before clipping. The first step makes the optimizer's state."""
        self._steps += 1
        if self._steps == 1:
            norm = gradient_norm(self._job)
            update_if_finite(self._job, loss_sum, norm)
            self._zero_gradients()
            return norm
        if self._update is None:
            with capture_faults():
                self._update = self._capture_update()
        graph, static_loss, norm = self._update
        static_loss.copy_(loss_sum)
        graph.replay()
        return norm

    def _size_of(self, batch: MicroBatch) -> int:
        fitting = (size for size in self._sizes if size >= batch.trained_tokens)
        return next(fitting, self._job.batches.fixed_tokens)

    def _capture(self, batch: MicroBatch, size: int) -> BatchGraph:
        device = self._job.device
        static = dataclasses.replace(
            batch,
            ids_BT=batch.ids_BT.clone(),
            position_ids_BT=batch.position_ids_BT.clone(),
            keep_N=torch.zeros(size, dtype=torch.long, device=device),
            targets_N=torch.full((size,), IGNORED, device=device),
            attention={
                name: value.clone() if isinstance(value, Tensor) else value
                for name, value in batch.attention.items()
            },
        )
        # Any batch will do to warm up; of one with more targets than the graph holds, the first ones.
        first = slice(0, min(size, batch.trained_tokens))
        self._fill(
            static, dataclasses.replace(batch, keep_N=batch.keep_N[first], targets_N=batch.targets_N[first])
        )
        self._targets.fill_(max(1, batch.trained_tokens))
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            for _ in range(WARM_UP_RUNS):
                backward(self._job, static, self._targets)
        torch.cuda.current_stream().wait_stream(self._stream)
        # What the warm-up held goes back, or the graph's own memory comes on top of it.
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            loss = backward(self._job, static, self._targets)
        return BatchGraph(graph, static, loss)

    def _capture_update(self) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor]:
        loss = torch.zeros((), dtype=torch.float64, device=self._job.device)
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph, stream=self._stream):
            norm = gradient_norm(self._job)
            update_if_finite(self._job, loss, norm)
            self._zero_gradients()
        return graph, loss, norm

    def _zero_gradients(self) -> None:
        torch._foreach_zero_(
            [parameter.grad for parameter in self._job.parameters.values() if parameter.grad is not None]
        )

    @staticmethod
    def _fill(static: MicroBatch, batch: MicroBatch) -> None:
        """Copy a batch into the buffers; the rest of the positions keeps no target."""
        real = batch.trained_tokens
        static.ids_BT.copy_(batch.ids_BT)
        static.position_ids_BT.copy_(batch.position_ids_BT)
        static.keep_N[:real].copy_(batch.keep_N)
        static.keep_N[real:].zero_()
        static.targets_N[:real].copy_(batch.targets_N)
        static.targets_N[real:].fill_(IGNORED)
        for name, value in batch.attention.items():
            if isinstance(value, Tensor):
                static.attention[name].copy_(value)


@contextmanager
def capture_faults() -> Iterator[None]:
    """Say what to do about a step that asks the host something in the middle, which no graph can hold."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as fault:
        raise EnvironmentFault(
            "env-device",
            f"the step cannot be captured as a CUDA graph: {' '.join(str(fault).split())[:200]}",
            why="Something in this model waits for the device. A failed capture leaves CUDA as it is until the program ends.",
            fix="Launch kernel by kernel: train.cuda_graphs=false",
        ) from fault


def targets_of_packs(job: "Job") -> list[int]:
    """Trained tokens of the packs of the first steps; one too many for a row whose first token is trained."""
    store = job.batches.store
    steps = STEPS_LOOKED_AT if job.order.lengths_are_known else STEPS_TOKENIZED_FOR_IT
    return [
        sum(int(store.trained(row).sum()) for row in rows)
        for number in range(min(job.order.total_steps, steps))
        for rows in job.order.step(number).micro_batches
    ]


def choose_sizes(targets: list[int], pack_tokens: int) -> list[int]:
    """The sizes that positions of targets are filled up to, ascending: one if packs are alike, else parts of the pack."""
    largest = min(pack_tokens, -(-max(targets) // ROUND_TO) * ROUND_TO)
    if max(targets) * len(targets) <= ONE_SIZE_SPREAD * sum(targets):
        return [largest]
    quantum = -(-pack_tokens // TARGET_SIZES)
    return sorted({min(pack_tokens, -(-each // quantum) * quantum) for each in targets})
