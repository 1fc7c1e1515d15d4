"""What an evaluation leaves for the comparison, and what a comparison says."""

from pydantic import BaseModel, ConfigDict

from luthier.reports.base import Figure, Report


class Estimate(BaseModel):
    """A figure with its confidence interval."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: Figure
    low: Figure
    high: Figure


class MetricChange(BaseModel):
    """A metric of the task over the greedy answers of two models to the same questions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    before: Figure
    after: Figure


class EvaluateReport(Report):
    """One model on the held-out rows. predictions.jsonl beside it holds every row."""

    subject: str
    """`tuned`, `base` or `merged`."""
    model: str
    rows: int
    prompts_cut: int
    answers_unfinished: int
    """Answers that reached max_new_tokens without an end."""
    metrics: dict[str, Estimate]
    bleu_signature: str
    chrf_signature: str
    new_tokens_per_second: float
    data_sha256: str
    """Hash of the evaluated rows, so that only equal sets are compared."""


class MetricComparison(BaseModel):
    """One metric of two models on the same rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: Figure
    tuned: Figure
    delta: Figure
    low: Figure
    high: Figure
    p_value: Figure


class CompareReport(Report):
    """Tuned against base, paired by row."""

    base_name: str
    tuned_name: str
    rows: int
    metrics: dict[str, MetricComparison]
    gate_metric: str
    passed: bool
    rows_won: tuple[int, ...]
    rows_lost: tuple[int, ...]
    """Row numbers, from 0, where the gate metric rose or fell."""
