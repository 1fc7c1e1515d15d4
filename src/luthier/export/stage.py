"""Merge a run's adapter into its base, and keep the result only if it answers as the adapter model did.

Merged in memory, written to a temporary folder, loaded again by a fresh process, compared with the adapter model on held-out
rows, and only then given its name. One model is in memory at a time.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from peft import PeftModel

from luthier.config.recipe import Recipe
from luthier.export.bench import (
    Bench,
    answer,
    keep,
    load_over_original,
    load_quantized,
    load_seen,
    pad_id,
    release,
    score,
    set_up,
)
from luthier.export.gates import Figures, MetricPair, judge
from luthier.export.inputs import MergeInputs, read_inputs
from luthier.export.logits import KeptLogits, compare_kept, compare_with_kept
from luthier.export.merge import merge_adapter
from luthier.export.save import DTYPES, hash_weights, own_dtypes, round_weights, write_model
from luthier.export.verify import Questions, Result, Task, measure_in_fresh_process
from luthier.floor.files import TEMPORARY_PREFIX, disk_faults, publish_folder
from luthier.floor.log import Listener, Silent
from luthier.floor.rundir import RunDir, lock_run
from luthier.floor.stop import StopFlag
from luthier.measure.parity import LogitDifference
from luthier.modelling.device import describe_device
from luthier.reports.merge import MergeReport
from luthier.reports.provenance import gather_provenance
from luthier.text.tokenizer import hash_tokenizer

MODEL = "model"
# Named in the report where the recipe's gate metric says nothing about these rows (accuracy without labels, a loss).
FALLBACK_METRIC = "exact_match"


def merge(
    recipe: Recipe,
    run: RunDir,
    *,
    listener: Listener = Silent(),
    stop: StopFlag | None = None,
    again: bool = False,
) -> MergeReport:
    """Merge the run's adapter into its base; <run>/merge/model holds the model, <run>/merge/report.json the proof.

    A finished merge of the same inputs is returned as it is, unless `again`. Raises GateError gate-parity if the merged
    model answers otherwise, UsageError if there is no finished adapter, ModelError adp-base if the base is another one.
    """
    inputs = read_inputs(recipe, run)
    report = None if again else finished_merge(inputs)
    if report is not None:
        return report
    begun = time.monotonic()
    with lock_run(run), work_folder(run.stage("merge")) as work:
        bench = set_up(inputs, work, listener, stop)
        written, truth, figures = _make(bench)
        judge(figures, inputs, weights=len(written.weights))
        return _publish(bench, written, truth, figures, seconds=time.monotonic() - begun)


def finished_merge(inputs: MergeInputs) -> MergeReport | None:
    """The report of an earlier merge of the same inputs whose model is still there."""
    path = inputs.run.report("merge")
    if not path.is_file() or not (path.parent / MODEL / "config.json").is_file():
        return None
    report = MergeReport.read(path)
    return report if report.inputs_hash == inputs.inputs_hash else None


@contextmanager
def work_folder(stage: Path) -> Iterator[Path]:
    """A temporary folder of the stage that is gone afterwards, whatever happens; one of a killed process goes first."""
    work = stage / f"{TEMPORARY_PREFIX}work"
    with disk_faults(stage):
        stage.mkdir(parents=True, exist_ok=True)
        for stale in stage.glob(f"{TEMPORARY_PREFIX}*"):
            shutil.rmtree(stale)
        work.mkdir()
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


@dataclass(frozen=True)
class Written:
    """What is remembered of a merged model once it is on the disk and out of memory."""

    folder: Path
    weights: dict[str, str]
    """Hash of every weight, by name."""
    is_tied: bool
    before_rounding: LogitDifference | None


def _make(bench: Bench) -> tuple[Written, KeptLogits, Figures]:
    """Ask the adapter model, merge, write, and ask the merged model in a fresh process."""
    inputs = bench.inputs
    quantized = _quantized_logits(bench)
    model = load_seen(bench)
    truth = keep(bench, model, "seen.f32", label="logits of the adapter model")
    kl_to_quantized = compare_kept(quantized, truth).mean_kl if quantized is not None else None
    metrics_before: dict[str, float] = {}
    target = truth
    if inputs.goes_into_other_weights:
        metrics_before = score(bench, answer(bench, model)) if bench.questions else {}
        del model
        release(bench.place.device)
        model = load_over_original(bench)
        target = keep(bench, model, "original.f32", label="logits over the original base")
    written = _merge_and_write(bench, model, target)
    del model
    release(bench.place.device)
    bench.listener.say("Loading the merged model in a fresh process")
    fresh = measure_in_fresh_process(
        written.folder, _task(bench, written, truth), work=bench.work, stop=bench.stop
    )
    metric = _metric(bench, metrics_before, fresh)
    return written, truth, Figures(written.before_rounding, fresh, kl_to_quantized, metric)


def _quantized_logits(bench: Bench) -> KeptLogits | None:
    """The logits of a quantized run's model as it was trained; None for other runs."""
    if bench.inputs.quantization is None:
        return None
    model = load_quantized(bench)
    kept = keep(bench, model, "quantized.f32", label="logits of the quantized model")
    del model
    release(bench.place.device)
    return kept


def _merge_and_write(bench: Bench, model: PeftModel, target: KeptLogits) -> Written:
    """Merge in place, measure before rounding, round, write to the work folder."""
    inputs = bench.inputs
    merged = merge_adapter(model)
    difference = None
    if bench.place.is_exact:
        difference = compare_with_kept(
            merged, target, label="logits of the merged weights", listener=bench.listener, stop=bench.stop
        )
    own = own_dtypes(inputs.base) if inputs.recipe.merge.dtype == "auto" else {}
    round_weights(merged, default=DTYPES[inputs.dtype], own=own)
    folder = bench.work / MODEL
    bench.listener.say("Writing the merged model")
    write_model(
        merged,
        bench.tokenizer,
        folder,
        base_folder=inputs.base_folder,
        stop_ids=bench.rows.stop_ids,
    )
    is_tied = bool(merged.config.get_text_config().tie_word_embeddings)
    return Written(folder, hash_weights(merged), is_tied, difference)


def _task(bench: Bench, written: Written, truth: KeptLogits) -> Task:
    evaluate = bench.inputs.recipe.evaluate
    return Task(
        device=str(bench.place.device),
        dtype=bench.place.dtype,
        logits=str(truth.path),
        vocabulary=truth.vocabulary,
        rows=tuple((row.ids, row.positions) for row in truth.rows),
        weights=written.weights,
        tokenizer=hash_tokenizer(bench.tokenizer),
        questions=Questions(
            prompts=bench.questions if bench.inputs.goes_into_other_weights else (),
            stop_ids=bench.rows.stop_ids,
            pad_id=pad_id(bench),
            max_new_tokens=evaluate.max_new_tokens,
            batch_tokens=evaluate.batch_tokens,
        ),
    )


def _metric(bench: Bench, before: dict[str, float], fresh: Result) -> MetricPair | None:
    """The gate metric of both models; None where the rows ask nothing or the merge stays in the same weights."""
    if not before or not fresh.answers:
        return None
    after = score(bench, fresh.answers)
    name = bench.inputs.recipe.evaluate.gate_metric
    name = name if name in before and name in after else FALLBACK_METRIC
    return MetricPair(name, before[name], after[name])


def _publish(
    bench: Bench, written: Written, truth: KeptLogits, figures: Figures, *, seconds: float
) -> MergeReport:
    """Give the checked folder its name, then write the report."""
    inputs, fresh = bench.inputs, figures.fresh
    final = inputs.run.stage("merge") / MODEL
    metric = figures.metric
    report = MergeReport(
        inputs_hash=inputs.inputs_hash,
        seconds=seconds,
        provenance=gather_provenance(device=describe_device(bench.place.device)),
        folder=str(final),
        base=inputs.recipe.merge.base if inputs.quantization is not None else "seen",
        dtype=inputs.dtype,
        tied_embeddings=written.is_tied,
        rows_checked=len(truth.rows),
        tokens_checked=fresh.tokens,
        computed_in=bench.place.dtype,
        max_logit_difference=fresh.max_logit_difference,
        mean_kl=fresh.mean_kl,
        top1_agreement=fresh.top1_agreement,
        difference_before_rounding=written.before_rounding.max_absolute if written.before_rounding else None,
        kl_to_quantized=figures.kl_to_quantized,
        metric=metric.name if metric else None,
        metric_before=metric.before if metric else None,
        metric_after=metric.after if metric else None,
    )
    # A report never stands beside a model that is not its own: the old one goes before the folder is replaced.
    with disk_faults(final):
        inputs.run.report("merge").unlink(missing_ok=True)
    publish_folder(written.folder, final)
    return report.write(inputs.run.report("merge"))
