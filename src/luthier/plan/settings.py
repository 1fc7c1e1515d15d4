"""Judge settings against the usual ranges: those of the guide (its section 10, with the impact that it ranks them by) and of the literature.

A finding says the value, what is usual, what may come of it and what to type. Unusual is not wrong: only what cannot work is an error.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from luthier.config.method import LoraMethod, ScratchMethod
from luthier.config.recipe import Recipe
from luthier.plan.device import PlannedDevice
from luthier.plan.model import PlannedModel
from luthier.reports.plan import SettingFinding, Severity, Tokens

BILLION = 10**9
# The guide's table of learning rates by model size, for adapters.
LR_BY_SIZE = ((BILLION, 5e-4, 1e-3), (7 * BILLION, 1e-4, 5e-4), (None, 5e-5, 2e-4))
# Every weight takes about a tenth of an adapter's rate (Schulman et al. 2025, "LoRA Without Regret").
FULL_LR_SHARE = 0.1
# Within a factor of this around the range nobody need be told.
LR_SLACK = 2.0
# Answers of tuned model and base differ in about one of eight rows where a tuning is nearly done; 1.96 standard errors of their mean.
DIFFERING_SHARE, Z = 0.125, 1.96
# So many times beyond the range a setting that matters is warned of, not only noted.
FAR = 2.0
FEW_ROWS = 200
MANY_EPOCHS = 5


@dataclass(frozen=True)
class Range:
    """A setting with a usual range."""

    setting: str
    value: float
    low: float
    high: float
    impact: str
    below: str
    above: str


def judge_settings(
    model: PlannedModel, recipe: Recipe, device: PlannedDevice, tokens: Tokens, *, eval_rows: int | None
) -> list[SettingFinding]:
    """Everything unusual, what cannot work first."""
    found = [
        *_impossible(model, recipe, device),
        *(_finding(each) for each in _ranges(model, recipe) if not each.low <= each.value <= each.high),
        *_of_data(model, recipe, tokens, eval_rows),
    ]
    order: list[Severity] = ["error", "warning", "note"]
    return sorted(found, key=lambda finding: order.index(finding.severity))


def usual_lr(model: PlannedModel, recipe: Recipe) -> tuple[float, float]:
    """The usual learning rates of a model of this size, for the method."""
    low, high = next((low, high) for most, low, high in LR_BY_SIZE if most is None or model.parameters < most)
    if isinstance(recipe.method, LoraMethod):
        return low, high
    if isinstance(recipe.method, ScratchMethod):
        return low, 3 * high
    return low * FULL_LR_SHARE, high * FULL_LR_SHARE


def detectable_gain(rows: int) -> float:
    """The least difference of exact match, as a share, that so many rows tell from chance: 1.96 sqrt(1/8 / rows)."""
    return Z * math.sqrt(DIFFERING_SHARE / rows)


def _ranges(model: PlannedModel, recipe: Recipe) -> Iterator[Range]:
    train, optimizer = recipe.train, recipe.train.optimizer
    low, high = usual_lr(model, recipe)
    yield Range(
        "train.lr", train.lr, low / LR_SLACK, high * LR_SLACK, "critical",
        "the model learns slowly, or nothing in so few steps", "the loss may jump or diverge",
    )  # fmt: skip
    if rows := recipe.rows_per_step():
        yield Range(
            "train.batch_size", rows, 8, 512, "high",
            "gradients are noisy: lower train.lr with it", "few steps are made, and each costs much",
        )  # fmt: skip
    if train.schedule.kind != "constant":
        yield Range(
            "train.schedule.warmup_fraction", train.schedule.warmup_fraction, 0.01, 0.1, "high",
            "the first steps may be too large", "much of the run goes by below its rate",
        )  # fmt: skip
    if not isinstance(recipe.method, LoraMethod):
        yield Range(
            "train.optimizer.weight_decay", optimizer.weight_decay, 0.01, 0.1, "medium",
            "nothing holds weights small over long runs", "weights are pulled to zero faster than they learn",
        )  # fmt: skip
    yield Range(
        "train.optimizer.clip_norm", optimizer.clip_norm, 0.5, 1.0, "medium",
        "one bad batch can undo the training" if optimizer.clip_norm == 0 else "most steps are cut",
        "one bad batch can undo the training",
    )  # fmt: skip
    yield Range("train.optimizer.beta2", optimizer.beta2, 0.95, 0.999, "low", "moments forget within a few steps", "moments of the first steps stay for thousands")  # fmt: skip
    yield Range("train.optimizer.epsilon", optimizer.epsilon, 1e-8, 1e-6, "low", "tiny gradients make large steps", "small gradients move nothing")  # fmt: skip
    if isinstance(recipe.method, LoraMethod):
        method = recipe.method
        yield Range("method.dropout", method.dropout, 0.0, 0.1, "low", "", "adapters learn slowly")
        yield Range("method.rank", method.rank, 8, 256, "medium", "the adapter may be too small for the task", "memory and time are spent for little")  # fmt: skip
        scale = method.alpha / (method.rank**0.5 if method.rslora else method.rank)
        yield Range("method.alpha", scale, 0.5, 16 if method.rslora else 4, "medium", "alpha / rank scales the adapter down, as a lower train.lr would", "alpha / rank scales the adapter up, as a higher train.lr would")  # fmt: skip


def _finding(judged: Range) -> SettingFinding:
    is_low = judged.value < judged.low
    is_far = judged.value < judged.low / FAR or judged.value > judged.high * FAR
    return SettingFinding(
        setting=judged.setting,
        value=f"{judged.value:g}" + (" (alpha / rank)" if judged.setting == "method.alpha" else ""),
        usual=f"{judged.low:g} to {judged.high:g}",
        severity="warning" if judged.impact in ("critical", "high") and is_far else "note",
        impact=judged.impact,
        consequence=judged.below if is_low else judged.above,
        fix=f"{judged.setting}={judged.low if is_low else judged.high:g}"
        if judged.setting != "method.alpha"
        else "method.alpha=TWICE THE RANK",
    )


def _impossible(model: PlannedModel, recipe: Recipe, device: PlannedDevice) -> Iterator[SettingFinding]:
    context = model.context_tokens
    if context is not None and recipe.data.max_length > context:
        yield SettingFinding(
            setting="data.max_length", value=f"{recipe.data.max_length:,}", usual=f"at most {context:,}", severity="error",
            impact="critical", consequence="the model has never seen such positions, and answers gibberish beyond them",
            fix=f"data.max_length={context}",
        )  # fmt: skip
    if device.precision == "bf16" and device.is_gpu and not device.has_bf16:
        yield SettingFinding(
            setting="train.precision", value="bf16", usual="fp16 on this GPU", severity="error", impact="critical",
            consequence=f"{device.name} computes no bf16", fix="train.precision=auto",
        )  # fmt: skip
    if recipe.train.precision == "fp16" and (device.peak_flops is None or device.has_bf16):
        yield SettingFinding(
            setting="train.precision", value="fp16", usual="bf16 where the GPU has it", severity="note", impact="medium",
            consequence="models trained in bf16 hold numbers that fp16 cannot, and gradients have to be scaled",
            fix="train.precision=auto",
        )  # fmt: skip


def _of_data(
    model: PlannedModel, recipe: Recipe, tokens: Tokens, eval_rows: int | None
) -> Iterator[SettingFinding]:
    epochs = recipe.train.epochs
    if tokens.rows and tokens.rows < FEW_ROWS and not isinstance(recipe.method, ScratchMethod):
        yield SettingFinding(
            setting="data.path", value=f"about {tokens.rows:,} rows", usual="some hundreds and more", severity="warning", impact="high",
            consequence="the model learns the rows by heart before it learns the task", fix="Add rows: luthier data synth; and watch the validation loss",
        )  # fmt: skip
    if epochs > MANY_EPOCHS and isinstance(recipe.method, LoraMethod) and not recipe.train.most_steps:
        yield SettingFinding(
            setting="train.epochs", value=f"{epochs:g}", usual="1 to 5", severity="note", impact="medium",
            consequence="every row is seen so often that it is learnt by heart; the validation loss tells when",
            fix="train.checkpoint.load_best=true",
        )  # fmt: skip
    if isinstance(recipe.method, ScratchMethod) and tokens.epoch_tokens:
        ratio = epochs * tokens.epoch_tokens / model.parameters
        if ratio < 20:
            yield SettingFinding(
                setting="method", value=f"{ratio:.1f} tokens a parameter", usual="20 and more (Hoffmann et al. 2022)", severity="note",
                impact="high", consequence="a smaller model would be better for the same arithmetic", fix="method.hidden_size and method.layers, or more text",
            )  # fmt: skip
    if eval_rows:
        gain = detectable_gain(eval_rows)
        if gain > 0.05:
            yield SettingFinding(
                setting="evaluate.path", value=f"{eval_rows:,} rows", usual="200 and more", severity="note", impact="medium",
                consequence=f"they tell a gain from chance from about {100 * gain:.0f} points on", fix="Keep more rows for the test: luthier data split FILE",
            )  # fmt: skip
