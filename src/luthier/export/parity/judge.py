"""Whether a subject is near enough to the run's model: every bound that it breaks, in one list."""

import re
from dataclasses import dataclass

from luthier.config.recipe import Recipe
from luthier.export.parity.findings import Findings
from luthier.export.parity.prompts import MOST_FAULTS_SHOWN
from luthier.knowledge.gguf_types import GGUF_TYPES, TypeFacts

LEAST_SAME_ANSWERS = 0.5
"""Where a server tells no probabilities. A choice: of one small model every type down to Q3_K_M kept 0.76 or more (bench/gguf/types.json)."""
FALLBACK_METRIC = "exact_match"
Metrics = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Budget:
    """The bounds of one link; None is not judged."""

    most_kl: float
    least_same_first: float | None
    least_same_answers: float | None
    most_metric_loss: float | None
    most_perplexity_rise: float | None
    gate_metric: str


def find_type(file_type: int | None, *, bits_a_weight: float) -> TypeFacts:
    """The type that a GGUF file names; of one that Luthier does not write, the known one of the next fewer bits."""
    known = {facts.file_type: facts for facts in GGUF_TYPES.values()}
    if file_type in known:
        return known[file_type]
    by_bits = sorted(GGUF_TYPES.values(), key=lambda facts: facts.bits)
    return next((facts for facts in reversed(by_bits) if facts.bits <= bits_a_weight), by_bits[0])


def type_in_name(model: str) -> TypeFacts | None:
    """The type with which the name of a server's model ends, as GGUF files and Ollama's tags are named."""
    words = re.split(r"[-:./]", model.upper().removesuffix(".GGUF"))
    return GGUF_TYPES.get(words[-1])


def budget_of(recipe: Recipe, findings: Findings, type: TypeFacts | None, metrics: Metrics) -> Budget:
    """The bounds of the recipe; where it leaves the first one open, that of the file's type or of a merge."""
    asked = recipe.verify
    least = asked.least_same_answers
    if least is None and findings.likeness is None:
        least = LEAST_SAME_ANSWERS
    wanted = recipe.evaluate.gate_metric
    return Budget(
        most_kl=asked.most_kl or (type.most_kl if type is not None else recipe.merge.most_kl),
        least_same_first=asked.least_same_first,
        least_same_answers=least,
        most_metric_loss=asked.most_metric_loss,
        most_perplexity_rise=asked.most_perplexity_rise,
        gate_metric=wanted if wanted in metrics else FALLBACK_METRIC,
    )


def problems_of(findings: Findings, budget: Budget, metrics: Metrics) -> list[str]:
    """What stands against the subject; nothing if it is near enough."""
    return [
        *_token_problems(findings),
        *_logit_problems(findings, budget),
        *_answer_problems(findings, budget, metrics),
    ]


def _token_problems(findings: Findings) -> list[str]:
    faults = findings.token_faults
    if not faults:
        return []
    total = findings.prompts + findings.texts
    shown = "; ".join(map(str, faults[:MOST_FAULTS_SHOWN]))
    more = f"; and {len(faults) - MOST_FAULTS_SHOWN} more" if len(faults) > MOST_FAULTS_SHOWN else ""
    return [
        f"{len(faults):,} of {total:,} prompts and texts are read otherwise ({findings.by}): {shown}{more}"
    ]


def _logit_problems(findings: Findings, budget: Budget) -> list[str]:
    likeness = findings.likeness
    if likeness is None:
        return []
    problems = []
    difference = likeness.difference
    if not difference.mean_kl <= budget.most_kl:
        problems.append(
            f"mean KL divergence {difference.mean_kl:.3g} nats a token, allowed is {budget.most_kl:g}; "
            f"farthest apart at {likeness.worst}"
        )
    least = budget.least_same_first
    if least is not None and not difference.top1_agreement >= least:
        problems.append(
            f"the same likeliest next token after {difference.top1_agreement:.1%}, at least {least:.1%} is asked"
        )
    most = budget.most_perplexity_rise
    rise = likeness.perplexity_after / likeness.perplexity_before - 1
    if most is not None and likeness.perplexity_tokens and not rise <= most:
        problems.append(
            f"perplexity rises from {likeness.perplexity_before:.4g} to {likeness.perplexity_after:.4g}, allowed is {most:.1%}"
        )
    return problems


def _answer_problems(findings: Findings, budget: Budget, metrics: Metrics) -> list[str]:
    problems = []
    share, least = findings.same_answer_share, budget.least_same_answers
    if least is not None and share is not None and not share >= least:
        problems.append(
            f"{share:.1%} of the greedy answers is the same from their start, at least {least:.1%} is asked"
        )
    most = budget.most_metric_loss
    before, after = metrics.get(budget.gate_metric, (0.0, 0.0))
    if most is not None and not before - after <= most:
        problems.append(f"{budget.gate_metric} falls from {before:.4f} to {after:.4f}, allowed is {most:g}")
    if findings.likeness is None and share is None:
        problems.append(
            "nothing could be compared: it tells no probabilities, and there is no question to answer"
        )
    return problems
