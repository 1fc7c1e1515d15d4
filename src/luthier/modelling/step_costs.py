"""What a training step spends its time on, from the events of torch's profiler. Pure functions, no torch.

On a GPU the time of a step is cut at the device: each moment belongs to the kernel that runs, or, if none does, to what the device
waits for: a batch (inside the range `luthier.batch`), the host that has yet to launch something (inside a step), or nothing. On a CPU
the operators are the work: each moment belongs to the innermost one, and to the host's own Python where there is none.
A piece of work is known by the ranges and operators around it (a product inside attention is attention), then by its own name.
"""

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

COSTS = ("data_wait", "host_launch", "attention", "matmul", "logits", "optimizer", "elementwise", "copies", "idle")  # fmt: skip
WAITS = ("data_wait", "host_launch", "idle")
STEP, BATCH = "luthier.step", "luthier.batch"
# Ranges and operators that decide over everything below them; the outermost that fits wins.
AROUND: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("data_wait", re.compile(r"luthier\.batch")),
    ("optimizer", re.compile(r"luthier\.optimizer|Optimizer\.(step|zero_grad)")),
    ("logits", re.compile(r"luthier\.loss|cross_?entropy|nll_?loss|log_?softmax", re.IGNORECASE)),
    ("attention", re.compile(r"scaled_?dot_?product|varlen|flash_attn|flash_attention", re.IGNORECASE)),
)
# Names of kernels and operators, read from traces of torch 2.11 on an H200 and of torch 2.13 on a CPU.
OWN: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("copies", re.compile(r"^mem(cpy|set)|aten::_?to_copy|aten::copy_", re.IGNORECASE)),
    ("attention", re.compile(r"flash|fmha|sdpa|scaled_dot_product|varlen|cudnn.*attn", re.IGNORECASE)),
    ("logits", re.compile(r"cross_?entropy|nll_?loss|log_?softmax|softmax_gradient", re.IGNORECASE)),
    ("optimizer", re.compile(r"adam|multi_?tensor|_foreach_", re.IGNORECASE)),
    (
        "matmul",
        re.compile(
            r"gemm|gemv|cutlass|nvjet|ampere_|sm[89]0_|sm100_|cublas|wgmma|splitk"
            r"|(^|[^a-z])(add|b|baddb|scaled_)?mm($|[^a-z])|mkldnn_linear|aten::linear|kgemm",
            re.IGNORECASE,
        ),
    ),
)
ON_DEVICE = frozenset({"kernel", "gpu_memcpy", "gpu_memset"})
ON_HOST = frozenset({"cpu_op", "user_annotation", "cuda_runtime", "cuda_driver"})


@dataclass(frozen=True)
class Event:
    """One interval of a trace, in microseconds."""

    name: str
    kind: str
    """The trace's category, such as `kernel`, `cpu_op`, `user_annotation` or `cuda_runtime`."""
    start_us: float
    end_us: float
    thread: int = 0
    correlation: int | None = None
    """Joins a kernel to the call that launched it."""


@dataclass(frozen=True)
class StepCosts:
    """Where the time of the steps of a trace went; the costs add up to the wall time."""

    steps: int
    wall_seconds: float
    seconds: dict[str, float]
    """By cost, all steps together; every name of COSTS."""
    on_device: bool
    """Whether a GPU did the work."""

    def share(self, cost: str) -> float:
        """The part of the wall time, 0 to 1."""
        return self.seconds[cost] / self.wall_seconds if self.wall_seconds else 0.0

    @property
    def largest(self) -> str:
        return max(COSTS, key=lambda cost: self.seconds[cost])


def read_events(trace: Mapping[str, Any]) -> list[Event]:
    """The intervals of a Chrome trace as torch's profiler exports it; what is no work of host or device is left out."""
    return [
        Event(
            name=str(entry["name"]),
            kind=str(entry["cat"]),
            start_us=float(entry["ts"]),
            end_us=float(entry["ts"]) + float(entry["dur"]),
            thread=hash(entry.get("tid", 0)),
            correlation=entry.get("args", {}).get("correlation"),
        )
        for entry in trace["traceEvents"]
        if entry.get("ph") == "X" and entry.get("cat") in ON_DEVICE | ON_HOST
    ]


def break_down(events: Iterable[Event]) -> StepCosts:
    """Cut the steps' time into costs. Without a range `luthier.step` the whole trace counts as one step."""
    events = list(events)
    steps = sorted(
        (event.start_us, event.end_us)
        for event in events
        if event.name == STEP and event.kind == "user_annotation"
    )
    device = sorted((event for event in events if event.kind in ON_DEVICE), key=lambda event: event.start_us)
    host = [event for event in events if event.kind in ON_HOST]
    ends = [(event.start_us, event.end_us) for event in events]
    window = (steps[0][0], steps[-1][1]) if steps else (min(ends)[0], max(end for _, end in ends)) if ends else (0.0, 0.0)  # fmt: skip
    launched = _launched_from(host)
    if device:
        pieces = _device_pieces(device, launched, window)
        seconds = _sum(pieces) | _waits(pieces, host, steps or [window], window)
    else:
        seconds = _host_seconds(host, steps or [window], window)
    return StepCosts(
        steps=max(1, len(steps)),
        wall_seconds=(window[1] - window[0]) / 1e6,
        seconds={cost: seconds.get(cost, 0.0) / 1e6 for cost in COSTS},
        on_device=bool(device),
    )


def without_overhead(costs: StepCosts, step_seconds: float) -> StepCosts:
    """The same for steps of `step_seconds`, timed without the profiler.

    The profiler slows the host and not the kernels, so what it adds are waits: they shrink until the step fits.
    """
    wall = step_seconds * costs.steps
    waiting = sum(costs.seconds[cost] for cost in WAITS)
    if not costs.on_device or not waiting or wall >= costs.wall_seconds:
        return costs
    keep = max(0.0, waiting - (costs.wall_seconds - wall)) / waiting
    seconds = {cost: value * (keep if cost in WAITS else 1.0) for cost, value in costs.seconds.items()}
    return StepCosts(costs.steps, sum(seconds.values()), seconds, costs.on_device)


def classify(name: str, around: Sequence[str] = ()) -> str:
    """The cost that a piece of work belongs to, by what stands around it, outermost first, and by its own name."""
    for outer in (*around, name):
        for cost, pattern in AROUND:
            if pattern.search(outer):
                return cost
    return next((cost for cost, pattern in OWN if pattern.search(name)), "elementwise")


def _nested(events: Iterable[Event]) -> Iterator[tuple[Event, tuple[str, ...], float]]:
    """Each host event of a thread with the names around it, outermost first, and the time that is its own."""
    threads: dict[int, list[Event]] = defaultdict(list)
    for event in events:
        threads[event.thread].append(event)
    for of_thread in threads.values():
        stack: list[tuple[Event, list[float]]] = []
        for event in sorted(of_thread, key=lambda event: (event.start_us, -event.end_us)):
            while stack and stack[-1][0].end_us <= event.start_us:
                yield _closed(stack)
            if stack:
                stack[-1][1][0] += min(event.end_us, stack[-1][0].end_us) - event.start_us
            stack.append((event, [0.0]))
        while stack:
            yield _closed(stack)


def _closed(stack: list[tuple[Event, list[float]]]) -> tuple[Event, tuple[str, ...], float]:
    event, (inner,) = stack.pop()
    return event, tuple(outer.name for outer, _ in stack), max(0.0, event.end_us - event.start_us - inner)


def _launched_from(host: Sequence[Event]) -> dict[int, tuple[str, ...]]:
    """What stood around the call that launched each kernel."""
    return {
        event.correlation: around
        for event, around, _ in _nested(host)
        if event.correlation is not None and event.kind in ("cuda_runtime", "cuda_driver")
    }


Piece = tuple[float, float, str]


def _device_pieces(
    device: Sequence[Event], launched: Mapping[int, tuple[str, ...]], window: tuple[float, float]
) -> list[Piece]:
    """The device's busy time without overlap, each piece with its cost; of two kernels at once the earlier counts."""
    pieces, covered = [], window[0]
    for event in device:
        start, end = max(event.start_us, covered), min(event.end_us, window[1])
        if end > start:
            around = launched.get(event.correlation, ()) if event.correlation is not None else ()
            cost = classify(event.name, around)
            pieces.append((start, end, "copies" if cost == "data_wait" else cost))
            covered = end
    return pieces


def _sum(pieces: Iterable[Piece]) -> dict[str, float]:
    seconds: dict[str, float] = defaultdict(float)
    for start, end, cost in pieces:
        seconds[cost] += end - start
    return seconds


def _waits(
    pieces: Sequence[Piece],
    host: Sequence[Event],
    steps: Sequence[tuple[float, float]],
    window: tuple[float, float],
) -> dict[str, float]:
    """What the device waits for while it does nothing."""
    batches = sorted((event.start_us, event.end_us) for event in host if event.name == BATCH)
    waits = dict.fromkeys(WAITS, 0.0)
    at = window[0]
    for start, end, _ in [*pieces, (window[1], window[1], "")]:
        if start > at:
            in_batch, in_step = _overlap(at, start, batches), _overlap(at, start, steps)
            waits["data_wait"] += in_batch
            waits["host_launch"] += max(0.0, in_step - in_batch)
            waits["idle"] += start - at - max(in_step, in_batch)
        at = max(at, end)
    return waits


def _overlap(start: float, end: float, intervals: Sequence[tuple[float, float]]) -> float:
    """How much of start..end lies in the intervals, which are sorted and do not overlap."""
    first = max(0, bisect_right(intervals, (start, float("inf"))) - 1)
    total = 0.0
    for begin, finish in intervals[first:]:
        if begin >= end:
            break
        total += max(0.0, min(end, finish) - max(start, begin))
    return total


def _host_seconds(
    host: Sequence[Event], steps: Sequence[tuple[float, float]], window: tuple[float, float]
) -> dict[str, float]:
    """A CPU's time: operators by what they are, the rest of a step is Python's, the time between steps nobody's."""
    threads = {event.thread for event in host if event.name == STEP} or {event.thread for event in host}
    seconds: dict[str, float] = defaultdict(float)
    inside = (
        event
        for event in host
        if event.thread in threads and event.start_us >= window[0] and event.end_us <= window[1]
        if not event.name.startswith("ProfilerStep")  # torch's own mark, which goes on between our steps
    )
    for event, around, own in _nested(inside):
        seconds["host_launch" if event.name == STEP else classify(event.name, around)] += own
    in_steps = sum(end - start for start, end in steps)
    seconds["idle"] += max(0.0, window[1] - window[0] - in_steps)
    rest = (window[1] - window[0]) - sum(seconds.values())
    seconds["host_launch"] += max(0.0, rest)
    return seconds
