"""The memory of each phase, item by item, with the arithmetic of each.

Weights, gradients and moments are exact. Activations are the tensors that the backward pass keeps, counted for layers that are not compiled;
compiled ones keep less, and how much less was measured on one card (bench/results/train_speed.json: 34.2 GiB for packs of 32,768 tokens
of a 0.5B model, where the count of tensors says 44.8). Every phase therefore has an interval beside its peak.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from luthier.config.method import LoraMethod, QloraMethod
from luthier.config.recipe import Recipe
from luthier.floor.units import format_bytes
from luthier.knowledge.training_memory import (
    GRADIENT_BYTES,
    LOGITS_BYTES,
    MOMENTS_8BIT_BYTES,
    MOMENTS_BYTES,
    micro_batch_tokens,
    trained_numbers,
    training_activations,
    weight_bytes,
)
from luthier.plan.device import PlannedDevice
from luthier.plan.model import PlannedModel
from luthier.reports.plan import Item, Phase, PhaseName

# What the compiler leaves of the activations that eager layers keep; the figure above, and the bounds that it is trusted within.
COMPILED_SHARE, COMPILED_LOW, COMPILED_HIGH = 0.73, 0.6, 1.0
EAGER_LOW, EAGER_HIGH = 0.85, 1.25
# Blocks that are free but of the wrong size: what the allocator keeps beyond what is asked of it.
FRAGMENTATION_SHARE = 0.05
# The most logits in fp32 at once, numbers: those of the loss's chunks (modelling/losses.py), held against each other by a test.
MOST_LOGITS_CUDA, MOST_LOGITS_CPU = 2**28, 2**24
EVAL_TOKENS_CPU = 16_384
EVAL_SHARE_OF_FREE = 0.25
# Room beside the weights of the model that a merge checks (export/room.py).
MERGE_ROOM = 1.25


Memory = dict[PhaseName, Phase]


@dataclass(frozen=True)
class Part:
    """An item, and the interval that it is expected in."""

    name: str
    bytes: float
    how: str
    low: float | None = None
    high: float | None = None

    def item(self) -> Item:
        return Item(name=self.name, bytes=round(self.bytes), how=self.how)


def phase_of(parts: Iterable[Part], device: str) -> Phase:
    """Parts as a phase: they are held at the same time, so they add up."""
    kept = [part for part in parts if part.bytes > 0]
    return Phase(
        device=device,
        peak_bytes=round(sum(part.bytes for part in kept)),
        low_bytes=round(sum(part.bytes if part.low is None else part.low for part in kept)),
        high_bytes=round(sum(part.bytes if part.high is None else part.high for part in kept)),
        items=tuple(part.item() for part in kept),
    )


def memory_of(model: PlannedModel, recipe: Recipe, device: PlannedDevice) -> Memory:
    """Training, evaluation and saving, and of adapters the merge, by name."""
    found: Memory = {
        "train": phase_of(training_parts(model, recipe, device), device.name),
        "eval": phase_of(evaluation_parts(model, recipe, device), device.name),
        "save": phase_of(saving_parts(model, recipe, device), device.name),
    }
    if isinstance(recipe.method, LoraMethod):
        found["merge"] = phase_of(merging_parts(model, device), device.name)
    return found


def training_parts(model: PlannedModel, recipe: Recipe, device: PlannedDevice) -> list[Part]:
    """What a step holds between its forward and its backward pass."""
    shape, tokens = model.shape, micro_batch_tokens(recipe)
    activations, how = training_activations(shape, recipe, compute_bytes=device.compute_bytes)
    share, low, high = (
        (COMPILED_SHARE, COMPILED_LOW, COMPILED_HIGH)
        if device.is_gpu and recipe.train.compile != "off"
        else (1.0, EAGER_LOW, EAGER_HIGH)
    )
    if share < 1:
        how += f"; {share:.0%} of it where layers are compiled"
    most = MOST_LOGITS_CUDA if device.is_gpu else MOST_LOGITS_CPU
    logits = min(most, tokens * shape.vocabulary)
    parts = [
        *_static_parts(model, recipe, device),
        Part("activations", activations * share, how, activations * low, activations * high),
        Part(
            "logits",
            logits * LOGITS_BYTES,
            f"{logits:,} at once x {LOGITS_BYTES} bytes (16 bit, fp32, fp32 gradient)",
            0.5 * logits * LOGITS_BYTES,
        ),
    ]
    if isinstance(recipe.method, QloraMethod):
        largest = max(inputs * outputs for inputs, outputs in shape.layer_matrices.values())
        parts.append(
            Part(
                "unpacked weights",
                2 * largest * device.compute_bytes,
                f"the largest matrix, {largest:,} numbers, and the one before it x {device.compute_bytes} bytes",
            )
        )
    return [*parts, _fragmentation(parts, device), *_runtime(device)]


def evaluation_parts(model: PlannedModel, recipe: Recipe, device: PlannedDevice) -> list[Part]:
    """Answering prompts in batches: weights, adapters, and the keys and values of every token of the batch."""
    shape = model.shape
    per_token = 2 * shape.layers * shape.key_width * device.compute_bytes
    fixed = [
        *_weights(model, recipe, device),
        *_adapters(model, recipe, 4, "fp32"),
    ]
    free = (device.memory_bytes or 0) - sum(part.bytes for part in fixed) - device.runtime_bytes
    tokens = recipe.evaluate.batch_tokens or (
        EVAL_TOKENS_CPU
        if not device.is_gpu
        else max(per_token, round(EVAL_SHARE_OF_FREE * max(free, 0))) // per_token
    )
    cache = Part(
        "keys and values",
        tokens * per_token,
        f"{tokens:,} tokens of a batch x 2 x {shape.layers} layers x {shape.key_width} wide x {device.compute_bytes} bytes",
        0.0,
    )
    logits = Part("logits", 128 * shape.vocabulary * 4, f"128 rows x {shape.vocabulary:,} in fp32")
    parts = [*fixed, cache, logits]
    return [*parts, _fragmentation(parts, device), *_runtime(device)]


def saving_parts(model: PlannedModel, recipe: Recipe, device: PlannedDevice) -> list[Part]:
    """What lies on the device while a checkpoint is written; tensors are copied to the host one by one."""
    return [*_static_parts(model, recipe, device), *_runtime(device)]


def merging_parts(model: PlannedModel, device: PlannedDevice) -> list[Part]:
    """The model with its adapters added, in fp32 where there is room, and the check of what was written."""
    numbers = model.parameters
    wanted = numbers * 4 * MERGE_ROOM
    exact_fits = device.memory_bytes is None or wanted <= device.memory_bytes
    size = 4 if exact_fits else 2
    return [
        Part("weights", numbers * size, f"{numbers:,} numbers x {size} bytes", numbers * 2),
        Part(
            "room to check",
            numbers * size * (MERGE_ROOM - 1),
            "a matrix, activations and logits of a row, libraries: a quarter of the weights",
            0.0,
        ),
        *_runtime(device),
    ]


def _static_parts(model: PlannedModel, recipe: Recipe, device: PlannedDevice) -> list[Part]:
    """What is held from the first step to the last."""
    trained = trained_numbers(model.shape, recipe)
    if not isinstance(recipe.method, LoraMethod):
        trained = model.parameters
    is_8bit = recipe.train.optimizer.name == "adamw_8bit"
    moments = MOMENTS_8BIT_BYTES if is_8bit else MOMENTS_BYTES
    return [
        *_weights(model, recipe, device),
        *_adapters(model, recipe, 4, "fp32"),
        Part("gradients", trained * GRADIENT_BYTES, f"{trained:,} trained x {GRADIENT_BYTES} bytes (fp32)"),
        Part(
            "optimizer",
            trained * moments,
            f"{trained:,} trained x {moments} bytes (two moments, {'8 bit' if is_8bit else 'fp32'})",
        ),
    ]


def _weights(model: PlannedModel, recipe: Recipe, device: PlannedDevice) -> list[Part]:
    shape, method = model.shape, recipe.method
    if isinstance(method, QloraMethod):
        size = weight_bytes(shape, recipe, compute_bytes=device.compute_bytes)
        how = f"{shape.linear_weights:,} in {method.bits} bits with their constants, {shape.embedding_weights:,} of the embeddings in {device.compute_bytes} bytes"
        return [Part("weights", size, how)]
    per_number = device.compute_bytes if isinstance(method, LoraMethod) else 4
    name = {2: "16 bit", 4: "fp32"}[per_number]
    return [Part("weights", model.parameters * per_number, f"{model.parameters:,} numbers x {per_number} bytes ({name})")]  # fmt: skip


def _adapters(model: PlannedModel, recipe: Recipe, size: int, name: str) -> list[Part]:
    if not isinstance(recipe.method, LoraMethod):
        return []
    trained = trained_numbers(model.shape, recipe)
    return [Part("adapters", trained * size, f"{trained:,} numbers x {size} bytes ({name})")]


def _fragmentation(parts: Iterable[Part], device: PlannedDevice) -> Part:
    if not device.is_gpu:
        return Part("fragmentation", 0, "")
    whole = sum(part.bytes for part in parts)
    return Part("fragmentation", FRAGMENTATION_SHARE * whole, f"{FRAGMENTATION_SHARE:.0%} of the above", 0.0)


def _runtime(device: PlannedDevice) -> list[Part]:
    how = "the CUDA context and its libraries" if device.is_gpu else "Python, torch and what they import"
    return [Part("runtime", device.runtime_bytes, how, 0.6 * device.runtime_bytes, 1.6 * device.runtime_bytes)]  # fmt: skip


def tightest(memory: Memory, device: PlannedDevice) -> str:
    """The phase with the least room, in a sentence."""
    name, phase = max(memory.items(), key=lambda entry: entry[1].high_bytes)
    span = f"{format_bytes(phase.low_bytes)} to {format_bytes(phase.high_bytes)}"
    if device.memory_bytes is None:
        return f"{name} takes most: {span}"
    return f"{name} takes most: {span} of {format_bytes(device.memory_bytes)}"
