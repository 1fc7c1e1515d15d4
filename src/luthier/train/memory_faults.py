"""Memory that ran out, explained: what was asked for, what was there, at which place, and the three cheapest ways to fit.

torch says it with a class of its own on a GPU, with a plain RuntimeError on a CPU, numpy and Python with MemoryError; some libraries
wrap one of them in an error of theirs. All become EnvironmentFault `env-memory`. What is estimated is said to be an estimate.
"""

import re
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import torch

from luthier.config.method import ScratchMethod
from luthier.config.recipe import Recipe
from luthier.floor.errors import EnvironmentFault, LuthierError
from luthier.floor.units import format_bytes
from luthier.knowledge.model_folder import check_model_folder, find_model
from luthier.knowledge.training_memory import DecoderShape, WayToFit, ways_to_fit
from luthier.modelling.device import choose_device, choose_precision, describe_device
from luthier.modelling.losses import CHUNK_LOGITS_CPU, CHUNK_LOGITS_CUDA
from luthier.train.progress import Progress

if TYPE_CHECKING:
    from luthier.train.loop import Job

Stage = Literal["loading", "step"]

UNITS = {"bytes": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
# `Tried to allocate 2.00 GiB` (CUDA), `you tried to allocate 4096 bytes` (CPU), `Unable to allocate 7.45 GiB` (numpy).
ASKED = re.compile(r"(?:[Tt]ried|[Uu]nable) to allocate ([\d.]+) ?(bytes|[KMGT]iB|B)")
# What `set_per_process_memory_fraction` leaves a process, in the words of torch's refusal.
ALLOWED = re.compile(r"([\d.]+) ([KMGT]iB) allowed")
WORDS = ("can't allocate memory", "CUDA out of memory", "not enough memory", "Cannot allocate memory")
WAYS_SHOWN = 3
SAVED = "What was saved before is untouched."


@contextmanager
def explained(
    recipe: Recipe, where: str | Callable[[], str], *, stage: Stage = "step", saved: str = ""
) -> Iterator[None]:
    """Turn memory that runs out inside the block into EnvironmentFault `env-memory`.

    `where` says what was going on, such as `in step 12 of 300`; a function is asked when it happens. `stage` is `loading` while only the
    weights are being put into memory: then only what makes those smaller is advised. `saved` tells what is still valid.
    """
    try:
        yield
    except (MemoryError, RuntimeError, EnvironmentFault) as fault:
        if not is_out_of_memory(fault):
            raise
        place = where if isinstance(where, str) else where()
        raise memory_fault(recipe, fault, place, stage=stage, saved=saved) from fault


def is_out_of_memory(fault: BaseException) -> bool:
    """Whether a refusal of memory is what happened, or what lies behind it."""
    if isinstance(fault, LuthierError):
        return fault.code == "env-memory"
    if isinstance(fault, MemoryError | torch.OutOfMemoryError):
        return True
    return any(word in str(fault) for word in WORDS)


def memory_fault(
    recipe: Recipe, fault: BaseException, where: str, *, stage: Stage, saved: str = ""
) -> EnvironmentFault:
    """The error that tells a person what to change."""
    device = choose_device(recipe.model.device)
    text = _original_text(fault)
    asked = asked_bytes(text)
    wanted = f"{format_bytes(asked)} more were asked for" if asked else "more was asked for than there is"
    ways = cheapest_ways(recipe, device, stage, missing_bytes=missing_bytes(asked, device, text))
    return EnvironmentFault(
        "env-memory",
        f"memory ran out {where}: {wanted}",
        where=describe_device(device),
        problems=[f"there was: {describe_memory(device, text)}", *ways],
        why=" ".join(part for part in (saved, "What a way saves is an estimate.") if part) if ways else saved,
        fix="Add one of these to the command, the first is the cheapest."
        if ways
        else "Take a smaller model, or a machine with more memory.",
    )


def _original_text(fault: BaseException) -> str:
    """The refusal's own words, also where it was wrapped."""
    cause = fault.__cause__
    return str(cause if isinstance(fault, LuthierError) and cause is not None else fault)


def asked_bytes(text: str) -> int | None:
    """How much the refused request was for, by its message."""
    found = ASKED.search(text)
    return round(float(found[1]) * UNITS[found[2]]) if found else None


def describe_memory(device: torch.device, text: str = "") -> str:
    """What the device has, and who holds it."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        held, reserved = torch.cuda.memory_allocated(device), torch.cuda.memory_reserved(device)
        parts = [
            f"{format_bytes(free)} free of {format_bytes(total)}",
            f"{format_bytes(held)} in tensors of this run",
            f"{format_bytes(reserved - held)} more reserved by it",
            f"{format_bytes(max(0, total - free - reserved))} held by CUDA itself and by other processes",
        ]
        allowed = ALLOWED.search(text)
        return ", ".join(parts) + (f"; this process may use {allowed[1]} {allowed[2]}" if allowed else "")
    free_bytes, total_bytes = _host_memory()
    parts = [f"{format_bytes(free_bytes)} free of {format_bytes(total_bytes)}"] if total_bytes else []
    parts.append(f"{format_bytes(_status('VmRSS'))} held by this process")
    limit = address_limit()
    if limit is not None:
        parts.append(f"its limit (ulimit -v) is {format_bytes(limit)}, {format_bytes(_status('VmSize'))} taken")  # fmt: skip
    return ", ".join(parts)


def missing_bytes(asked: int | None, device: torch.device, text: str = "") -> float:
    """How much more there would have to be for this one request; 0 if the message does not tell."""
    if asked is None:
        return 0.0
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        allowed = ALLOWED.search(text)
        if allowed:
            most = float(allowed[1]) * UNITS[allowed[2]]
            free = round(min(free, max(0.0, most - torch.cuda.memory_reserved(device))))
        return float(max(asked - free, 0))
    limit = address_limit()
    free = _host_memory()[0] if limit is None else max(0, limit - _status("VmSize"))
    return float(max(asked - free, 0))


def cheapest_ways(recipe: Recipe, device: torch.device, stage: Stage, *, missing_bytes: float) -> list[str]:
    """Up to three lines `train.x=y  saves about 3.2 GiB; its price`, the cheapest first.

    A way that saves less than is missing is passed over if enough others do more.
    """
    shape = shape_of(recipe)
    if shape is None:
        return []
    precision = choose_precision(recipe.train.precision, device)
    found = ways_to_fit(
        shape,
        recipe,
        compute_bytes=precision.dtype.itemsize,
        most_logits=CHUNK_LOGITS_CUDA if device.type == "cuda" else CHUNK_LOGITS_CPU,
        only_weights=stage == "loading",
    )
    enough = [way for way in found if way.saved_bytes >= missing_bytes]
    others = sorted((way for way in found if way not in enough), key=lambda way: -way.saved_bytes)
    chosen = (enough + others)[:WAYS_SHOWN]
    return [_line(way, missing_bytes) for way in sorted(chosen, key=found.index)]


def _line(way: WayToFit, missing_bytes: float) -> str:
    alone = "" if way.saved_bytes >= missing_bytes else ", not enough alone"
    return f"{way.settings}: saves about {format_bytes(way.saved_bytes)}{alone}; {way.price}"


def shape_of(recipe: Recipe) -> DecoderShape | None:
    """The sizes of the recipe's model, or None where its configuration cannot tell."""
    if isinstance(recipe.method, ScratchMethod):
        return DecoderShape.of_scratch(recipe.method)
    if recipe.model.name is None:
        return None
    try:
        return DecoderShape.of(
            check_model_folder(find_model(recipe.model.name, recipe.model.revision)).config
        )
    except LuthierError:
        return None


def address_limit() -> int | None:
    """The most address space that this process may take, or None without a limit."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit


def _host_memory() -> tuple[int, int]:
    """Free and total bytes of the machine, as Linux counts them; 0 where it does not tell."""
    return _field("/proc/meminfo", "MemAvailable"), _field("/proc/meminfo", "MemTotal")


def _status(name: str) -> int:
    return _field("/proc/self/status", name)


def _field(path: str, name: str) -> int:
    """`NAME:   1234 kB` of a file of Linux, in bytes; 0 if it is not there."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith(f"{name}:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def in_step(job: "Job", progress: Progress) -> str:
    """Where a training is, for `explained`."""
    if progress.validation_is_due:
        return f"while validating after step {progress.step}"
    return f"in step {progress.step + 1} of {job.order.total_steps}"
