"""How much arithmetic the run is, and how long that takes on the device."""

import math
from dataclasses import dataclass

from luthier.config.method import LoraMethod
from luthier.config.recipe import Recipe
from luthier.knowledge.training_memory import DecoderShape, micro_batch_tokens, trained_numbers
from luthier.plan.device import PlannedDevice
from luthier.plan.model import PlannedModel
from luthier.reports.plan import Time, Tokens

SECONDS_AN_HOUR = 3600
# What a second forward pass adds beside 4 FLOPs a frozen weight, or 6 a trained one: 2 a weight (Kaplan et al. 2020, section 2.1).
FORWARD_FLOPS, FROZEN_FLOPS, TRAINED_FLOPS = 2, 4, 6
# Scores and their use are two products over the distance, forward; backward takes twice as much (FlashAttention-2 recomputes one: 2.5).
ATTENTION_PASSES = 3.5
# Fitted by hand to three speeds on one H200 (bench/results/train_speed.json; assets/embedded-base/facts.json): how often what is kept of a
# token is read or written in a step, and what a layer of a micro-batch costs however few its tokens.
ACTIVATION_PASSES, LAUNCH_S_A_LAYER = 6, 0.45e-3
OVERHEAD_LOW, OVERHEAD_HIGH = 0.6, 3.0


@dataclass(frozen=True)
class MeasuredSpeed:
    """What `luthier bench train RECIPE --out FILE` measured."""

    tokens_per_second: float
    source: str


def flops_per_token(shape: DecoderShape, recipe: Recipe, *, mean_row_tokens: float) -> tuple[float, str]:
    """FLOPs of a token in training, and the arithmetic.

    4 a frozen weight and 6 a trained one, of linear modules and the head (a looked-up embedding costs nothing), and attention's own
    products, 2 x 2 x width x distance forward over causal rows of half their length on average.
    """
    frozen = shape.linear_weights + shape.vocabulary * shape.width
    trained = trained_numbers(shape, recipe)
    repeats = FORWARD_FLOPS * frozen if recipe.train.gradient_checkpointing else 0
    if isinstance(recipe.method, LoraMethod):
        total = FROZEN_FLOPS * frozen + TRAINED_FLOPS * trained
        how = f"4 x {frozen:,} frozen + 6 x {trained:,} trained"
    else:
        total = TRAINED_FLOPS * frozen
        how = f"6 x {frozen:,} trained"
    attention = ATTENTION_PASSES * 2 * shape.query_width * mean_row_tokens * shape.layers
    how += f" + 3.5 x 2 x {shape.query_width:,} wide x {shape.layers} layers x {mean_row_tokens:,.0f} tokens a row"
    return total + repeats + attention, how + (f" + 2 x {frozen:,} recomputed" if repeats else "")


def time_of(
    model: PlannedModel,
    recipe: Recipe,
    device: PlannedDevice,
    tokens: Tokens,
    measured: MeasuredSpeed | None,
    *,
    price_per_hour: float | None,
) -> Time:
    """The run's steps, from a measured speed, or from the device's peak and the share of it that training reaches."""
    mean = (
        tokens.epoch_tokens / tokens.rows
        if tokens.rows and tokens.epoch_tokens
        else recipe.data.max_length / 2
    )
    flops, how = flops_per_token(model.shape, recipe, mean_row_tokens=mean)
    if measured is not None:
        rates = (measured.tokens_per_second * 0.9, measured.tokens_per_second, measured.tokens_per_second * 1.1)  # fmt: skip
        source = f"{measured.tokens_per_second:,.0f} tokens/s, measured: {measured.source}"
    elif device.peak_flops is None:
        return _unknown(flops, f"{how}; no rate is known for {device.name}: measure one with luthier bench train RECIPE --out FILE")  # fmt: skip
    else:
        step = _step_costs(model.shape, recipe, device, tokens.step_tokens or micro_batch_tokens(recipe))
        low, share, high = (part * device.peak_flops for part in device.share)
        rates = (
            step.tokens_per_second(flops, low, overhead=OVERHEAD_HIGH),
            step.tokens_per_second(flops, share),
            step.tokens_per_second(flops, high, overhead=OVERHEAD_LOW),
        )
        source = f"{device.peak_flops / 1e12:.3g} TFLOP/s ({device.rate_source}) x {device.share[1]:.0%}, {device.share[0]:.0%} to {device.share[2]:.0%}{step.how}"
    how = f"{flops / 1e9:.3g} GFLOPs a token ({how}); {source}"
    if tokens.steps is None or tokens.step_tokens is None:
        return _unknown(flops, how, rates[1])
    total = tokens.steps * tokens.step_tokens
    slow, seconds, fast = (total / rate for rate in rates)
    return Time(
        seconds=seconds,
        low_seconds=fast,
        high_seconds=slow,
        tokens_per_second=rates[1],
        flops_per_token=flops,
        how=how,
        cost=None if price_per_hour is None else price_per_hour * seconds / SECONDS_AN_HOUR,
        watt_hours=None if device.watts is None else device.watts * seconds / SECONDS_AN_HOUR,
    )


@dataclass(frozen=True)
class StepCosts:
    """What a step costs beside its arithmetic."""

    tokens: int
    traffic_s: float
    """Reading and writing activations, of a token."""
    launches_s: float
    """Of a step, whatever its tokens."""
    how: str

    def tokens_per_second(self, flops: float, rate: float, *, overhead: float = 1.0) -> float:
        """At so many operations a second, and so many times the other costs."""
        others_s = overhead * (self.tokens * self.traffic_s + self.launches_s)
        return self.tokens / (self.tokens * flops / rate + others_s)


def _step_costs(shape: DecoderShape, recipe: Recipe, device: PlannedDevice, step_tokens: int) -> StepCosts:
    """On a GPU small layers wait for memory, and small steps for their kernels to be launched; on a CPU neither is counted."""
    if not device.is_gpu or device.bytes_per_second is None:
        return StepCosts(step_tokens, 0.0, 0.0, "")
    kept = shape.activation_numbers() * shape.layers * device.compute_bytes
    micro_batches = math.ceil(step_tokens / micro_batch_tokens(recipe))
    launches_s = micro_batches * shape.layers * LAUNCH_S_A_LAYER
    traffic_s = ACTIVATION_PASSES * kept / device.bytes_per_second
    how = f"; {ACTIVATION_PASSES} passes over {kept:,} bytes of activations at {device.bytes_per_second / 1e12:.3g} TB/s, {1000 * launches_s:.3g} ms of a step to launch kernels"
    return StepCosts(step_tokens, traffic_s, launches_s, how)


def _unknown(flops: float, how: str, rate: float | None = None) -> Time:
    return Time(
        seconds=None,
        low_seconds=None,
        high_seconds=None,
        tokens_per_second=rate,
        flops_per_token=flops,
        how=how,
        cost=None,
        watt_hours=None,
    )
