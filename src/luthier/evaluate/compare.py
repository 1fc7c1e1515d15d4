"""Is the tuned model better than its base: the same rows, row by row, with intervals, a gate, and the rows won and lost.

Both evaluations are scored again from their predictions, so that both have the very same metrics, whenever they were made.
"""

import hashlib
import json
import time
from pathlib import Path

from luthier.config.evaluate import EvaluateConfig
from luthier.config.recipe import Recipe
from luthier.evaluate.predictions import REPORT, Prediction, hash_rows, read_predictions
from luthier.evaluate.score import all_metrics, row_values
from luthier.floor.errors import DataError, UsageError
from luthier.floor.lookup import did_you_mean
from luthier.floor.rundir import RunDir
from luthier.measure.intervals import Outcomes, PairedDelta, compare_paired, count_outcomes
from luthier.measure.metrics import LOWER_IS_BETTER
from luthier.reports.evaluate import CompareReport, EvaluateReport, MetricComparison
from luthier.reports.provenance import gather_provenance


def compare(
    run: RunDir, base_report_folder: Path, tuned_report_folder: Path, recipe: Recipe
) -> CompareReport:
    """Compare two evaluations, given by the folders of their reports; the result is written to <run>/compare/report.json.

    `passed` says whether the gate metric rose as `evaluate.gate` asks; what to do about it is the caller's.
    Raises DataError if they are of different rows, UsageError if one is missing or the gate metric was not measured.
    """
    started = time.perf_counter()
    settings = recipe.evaluate
    reports = [EvaluateReport.read(folder / REPORT) for folder in (base_report_folder, tuned_report_folder)]
    predictions = [read_predictions(folder) for folder in (base_report_folder, tuned_report_folder)]
    refuse_other_rows(predictions[0], predictions[1], (base_report_folder, tuned_report_folder))
    base, tuned = (all_metrics(listed) for listed in predictions)
    deltas = compare_paired(
        base,
        tuned,
        samples=settings.bootstrap_samples,
        confidence=settings.confidence,
        seed=recipe.train.seed,
    )
    gate = choose_gate_metric(settings.gate_metric, deltas)
    outcomes = judge_rows(predictions[0], predictions[1], gate)
    return CompareReport(
        inputs_hash=hash_comparison(reports, settings, recipe.train.seed),
        seconds=time.perf_counter() - started,
        provenance=gather_provenance(device=reports[1].provenance.device),
        base_name=name_of(reports[0], base_report_folder, run),
        tuned_name=name_of(reports[1], tuned_report_folder, run),
        rows=len(predictions[0]),
        metrics={name: as_comparison(delta) for name, delta in deltas.items()},
        gate_metric=gate,
        passed=passes(deltas[gate], settings, lower_is_better=gate in LOWER_IS_BETTER),
        rows_won=outcomes.won,
        rows_lost=outcomes.lost,
    ).write(run.report("compare"))


def refuse_other_rows(base: list[Prediction], tuned: list[Prediction], folders: tuple[Path, Path]) -> None:
    """Raise DataError unless both evaluations asked the same questions and expected the same answers."""
    hashes = [hash_rows((row.prompt, row.expected) for row in rows) for rows in (base, tuned)]
    if hashes[0] != hashes[1]:
        raise DataError(
            "compare-rows",
            f"the two evaluations are of different rows ({len(base)} and {len(tuned)})",
            where=f"{folders[0]} and {folders[1]}",
            why="A difference between models can only be seen on the same questions.",
            fix="Evaluate both on the same file: luthier eval evaluate.path=FILE.jsonl",
        )


def choose_gate_metric(name: str, deltas: dict[str, PairedDelta]) -> str:
    """The gate metric; plain texts, which nobody answers, are judged by their loss.

    Raises UsageError if the metric was not measured.
    """
    if name in deltas:
        return name
    if set(deltas) <= LOWER_IS_BETTER and name == EvaluateConfig().gate_metric:
        return "loss"
    raise UsageError(
        "usage",
        f"evaluate.gate_metric = {name} was not measured{did_you_mean(name, deltas)}",
        where="evaluate.gate_metric",
        why=f"Measured were: {', '.join(deltas)}.",
        fix="Name one of them: evaluate.gate_metric=...",
    )


def judge_rows(base: list[Prediction], tuned: list[Prediction], metric: str) -> Outcomes:
    """The rows that the tuned model won and lost by the gate metric."""
    return count_outcomes(
        row_values(base, metric), row_values(tuned, metric), lower_is_better=metric in LOWER_IS_BETTER
    )


def passes(delta: PairedDelta, settings: EvaluateConfig, *, lower_is_better: bool) -> bool:
    """Whether the interval of the gain lies above 0, or, for `not_worse`, does not lie below it."""
    low, high = (-delta.high, -delta.low) if lower_is_better else (delta.low, delta.high)
    return low > 0 if settings.gate == "better" else high >= 0


def as_comparison(delta: PairedDelta) -> MetricComparison:
    """The record of the report."""
    return MetricComparison(
        base=delta.base,
        tuned=delta.tuned,
        delta=delta.delta,
        low=delta.low,
        high=delta.high,
        p_value=delta.p_value,
    )


def name_of(report: EvaluateReport, folder: Path, run: RunDir) -> str:
    """`base`, `tuned` or `merged`; with the run's name before it if it is another run's."""
    own = folder.resolve().is_relative_to(run.path.resolve())
    return report.subject if own else f"{folder.parent.parent.name}/{report.subject}"


def hash_comparison(reports: list[EvaluateReport], settings: EvaluateConfig, seed: int) -> str:
    """Hash of everything that decides the comparison."""
    facts = [
        [report.inputs_hash for report in reports],
        [settings.gate_metric, settings.gate, settings.bootstrap_samples, settings.confidence, seed],
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
