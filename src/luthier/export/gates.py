"""Whether a merged model may be kept, from what was measured.

Nothing rounded, and the base that the adapter saw: the logits must agree within `merge.tolerance`. Rounded weights or another
base cannot agree so closely; there the KL divergence decides, and for another base the task metric as well.
"""

from dataclasses import dataclass

from luthier.config.export import MergeConfig
from luthier.export.inputs import MergeInputs
from luthier.export.verify import Result
from luthier.floor.errors import GateError
from luthier.measure.parity import LogitDifference

NAMES_SHOWN = 3


@dataclass(frozen=True)
class MetricPair:
    """A task metric of the adapter model and of the merged model."""

    name: str
    before: float
    after: float


@dataclass(frozen=True)
class Figures:
    """Everything measured of one merge."""

    before_rounding: LogitDifference | None
    fresh: Result
    kl_to_quantized: float | None
    metric: MetricPair | None


def judge(figures: Figures, inputs: MergeInputs, *, weights: int) -> None:
    """Raise GateError gate-parity, with every figure that is out of bounds, if the merge may not be kept."""
    fresh, settings = figures.fresh, inputs.recipe.merge
    if fresh.fault is not None:
        raise _refusal(inputs, [f"the folder cannot be loaded again: {fresh.fault}"])
    problems = _folder_problems(fresh, weights)
    problems += _answer_problems(figures, settings, must_be_exact=inputs.must_be_exact)
    if problems:
        raise _refusal(inputs, problems)


def _folder_problems(fresh: Result, weights: int) -> list[str]:
    problems = []
    if fresh.weights_wrong:
        names = ", ".join(fresh.weights_wrong[:NAMES_SHOWN])
        more = ", ..." if len(fresh.weights_wrong) > NAMES_SHOWN else ""
        problems.append(
            f"{len(fresh.weights_wrong)} of {weights} weights are not the ones that were merged: {names}{more}"
        )
    if not fresh.tokenizer_agrees:
        problems.append("its tokenizer or chat template is not the run's")
    return problems


def _answer_problems(figures: Figures, settings: MergeConfig, *, must_be_exact: bool) -> list[str]:
    fresh, metric = figures.fresh, figures.metric
    problems = []
    if must_be_exact and not fresh.max_logit_difference <= settings.tolerance:
        problems.append(
            f"the largest logit difference is {fresh.max_logit_difference:.3g}, allowed is merge.tolerance = "
            f"{settings.tolerance:g} (mean KL {fresh.mean_kl:.3g}, same first token {fresh.top1_agreement:.1%})"
        )
    if not must_be_exact and not fresh.mean_kl <= settings.most_kl:
        problems.append(
            f"the mean KL divergence is {fresh.mean_kl:.3g} nats a token, allowed is merge.most_kl = "
            f"{settings.most_kl:g} (largest logit difference {fresh.max_logit_difference:.3g}, "
            f"same first token {fresh.top1_agreement:.1%})"
        )
    if figures.kl_to_quantized is not None and not figures.kl_to_quantized <= settings.most_kl:
        problems.append(
            f"the dequantized base answers otherwise than the quantized model did: mean KL {figures.kl_to_quantized:.3g} "
            f"nats a token, allowed is merge.most_kl = {settings.most_kl:g}"
        )
    if metric is not None and not metric.before - metric.after <= settings.most_metric_loss:
        problems.append(
            f"{metric.name} falls from {metric.before:.4f} to {metric.after:.4f}, "
            f"allowed is merge.most_metric_loss = {settings.most_metric_loss:g}"
        )
    return problems


def _refusal(inputs: MergeInputs, problems: list[str]) -> GateError:
    checked = f"{inputs.run.stage('merge')}"
    if inputs.goes_into_other_weights:
        fix = "Merge into the base that the adapter saw: luthier merge merge.base=seen"
    elif inputs.dtype != "fp32":
        fix = "Keep more digits: luthier merge merge.dtype=fp32; or allow more: merge.most_kl=..."
    else:
        fix = f"Use the adapter itself, which is untouched: {inputs.run.model}"
    return GateError(
        "gate-parity",
        f"the merged model does not answer as the adapter model of {inputs.run.name} does; it was deleted",
        where=checked,
        problems=problems,
        why="A file that leaves the workshop answers as the trained model did.",
        fix=fix,
    )
