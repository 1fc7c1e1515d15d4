"""The links that were made of a run so far, from their reports: adapter, merged model, GGUF files, a Modelfile, and whatever was verified."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from luthier.config.recipe import Recipe
from luthier.export.inputs import read_inputs
from luthier.export.parity.judge import FALLBACK_METRIC
from luthier.export.parity.stage import STAGE
from luthier.export.stage import MODEL, finished_merge
from luthier.floor.errors import LuthierError, UsageError
from luthier.floor.files import sha256_of
from luthier.floor.log import Listener, Silent
from luthier.floor.rundir import RunDir
from luthier.reports.evaluate import MetricChange
from luthier.reports.gguf import GgufFile, GgufReport
from luthier.reports.gguf_adapter import GgufAdapterReport
from luthier.reports.merge import MergeReport
from luthier.reports.ollama import OllamaReport
from luthier.reports.verify import Link, VerifyReport


def read_chain(recipe: Recipe, run: RunDir, *, listener: Listener = Silent()) -> list[Link]:
    """Every link with a report, in the order in which a model goes through them. Files are hashed, to see that they are those that passed."""
    return [
        *_merge(recipe, run),
        *_gguf_files(recipe, run, listener),
        *_gguf_adapter(run, listener),
        *_modelfile(run, listener),
        *_verified(run, listener),
    ]


def _merge(recipe: Recipe, run: RunDir) -> Iterator[Link]:
    path = run.report("merge")
    if not path.is_file():
        return
    report = MergeReport.read(path)
    state = "stands" if (path.parent / MODEL / "config.json").is_file() else "gone"
    if state == "stands":
        try:
            state = "stands" if finished_merge(read_inputs(recipe, run)) is not None else "stale"
        except LuthierError:  # the base is gone or another one: nobody can say any more
            state = "stale"
    is_exact = report.dtype == "fp32" and report.base == "seen"
    yield Link(
        source="adapter",
        target="merged",
        name=str(path.parent / MODEL),
        report=str(path),
        state=state,
        tokens="the run's tokenizer",
        tokens_checked=report.tokens_checked,
        mean_kl=report.mean_kl,
        # Of an exact merge the logits themselves were judged, which is narrower.
        allowed_kl=None if is_exact else recipe.merge.most_kl,
        top1_agreement=report.top1_agreement,
        metrics=_one_metric(report),
        gate_metric=report.metric or FALLBACK_METRIC,
    )


def _one_metric(report: MergeReport) -> dict[str, MetricChange]:
    if report.metric is None or report.metric_before is None or report.metric_after is None:
        return {}
    return {report.metric: MetricChange(before=report.metric_before, after=report.metric_after)}


def _gguf_files(recipe: Recipe, run: RunDir, listener: Listener) -> Iterator[Link]:
    path = run.report("export/gguf")
    if not path.is_file():
        return
    report = GgufReport.read(path)
    source = "merged" if Path(report.source).parent.name == "merge" else "whole"
    is_older = (
        path.stat().st_mtime_ns < run.report("merge" if source == "merged" else "train").stat().st_mtime_ns
    )
    for file in report.files:
        place = path.parent / Path(file.path).name
        state = "stale" if is_older else _state_of(place, file.file_bytes, file.sha256, listener)
        yield _gguf_link(file, place, path, source, state, recipe.evaluate.gate_metric, report.llama_cpp)


def _gguf_link(
    file: GgufFile, place: Path, report: Path, source: str, state: str, gate_metric: str, version: str
) -> Link:
    return Link(
        source=source,
        target=file.type,
        name=str(place),
        report=str(report),
        state=state,
        tokens=f"{file.texts_checked:,} texts, llama.cpp {version}",
        tokens_checked=file.tokens_checked,
        **_likeness(file),
        metrics=file.metrics,
        gate_metric=gate_metric if gate_metric in file.metrics else FALLBACK_METRIC,
    )


def _likeness(found: GgufFile | GgufAdapterReport | VerifyReport) -> dict[str, Any]:
    """What every proof by llama.cpp and every verification measures."""
    names = (
        "mean_kl",
        "allowed_kl",
        "top1_agreement",
        "perplexity_before",
        "perplexity_after",
        "same_answer_share",
    )
    return {name: getattr(found, name) for name in names}


def _gguf_adapter(run: RunDir, listener: Listener) -> Iterator[Link]:
    path = run.report("export/gguf-adapter")
    if not path.is_file():
        return
    report = GgufAdapterReport.read(path)
    place = path.parent / Path(report.adapter).name
    yield Link(
        source="adapter",
        target=f"GGUF adapter over {report.base_type}",
        name=str(place),
        report=str(path),
        state=_state_of(place, report.adapter_bytes, report.adapter_sha256, listener),
        tokens=f"{report.texts_checked:,} texts, llama.cpp {report.llama_cpp}",
        tokens_checked=report.tokens_checked,
        **_likeness(report),
    )


def _modelfile(run: RunDir, listener: Listener) -> Iterator[Link]:
    path = run.report("export/ollama")
    if not path.is_file():
        return
    report = OllamaReport.read(path)
    place = run.stage("export/gguf") / Path(report.modelfile).name
    yield Link(
        source=report.type,
        target="Modelfile",
        name=str(place),
        report=str(path),
        state=_state_of(place, None, report.modelfile_sha256, listener),
        tokens=f"{report.prompts_checked:,} prompts by Ollama's template, {report.ids_checked:,} by ids",
        tokens_checked=0,
        mean_kl=math.nan,
        allowed_kl=None,
        top1_agreement=math.nan,
    )


def _verified(run: RunDir, listener: Listener) -> Iterator[Link]:
    for path in sorted(run.stage(STAGE).glob("*.json"), key=lambda path: path.stat().st_mtime_ns):
        try:
            report = VerifyReport.read(path)
        except UsageError as fault:
            listener.warn(f"{fault.what}; delete it, or verify again")
            continue
        yield Link(
            source=report.reference,
            target=" ".join(filter(None, [report.type, None if report.kind == "gguf" else report.kind])),
            is_verified=True,
            name=report.subject,
            report=str(path),
            state=_state_of_verified(report, listener),
            tokens=_tokens_told(report),
            tokens_checked=report.tokens_checked,
            **_likeness(report),
            metrics=report.metrics,
            gate_metric=report.gate_metric,
            problems=report.problems,
        )


def _tokens_told(report: VerifyReport) -> str:
    tokens = report.tokens
    if tokens.told == "nothing":
        return "not told"
    return f"{tokens.prompts + tokens.texts - tokens.differ:,} of {tokens.prompts + tokens.texts:,} by {tokens.told}, {tokens.by}"


def _state_of_verified(report: VerifyReport, listener: Listener) -> str:
    if not report.passed:
        return "failed"
    if report.kind == "server":
        return "stood"
    place = Path(report.subject)
    if report.sha256 is not None and report.subject_bytes is not None:
        return _state_of(place, report.subject_bytes, report.sha256, listener)
    return "stood" if place.is_dir() else "gone"


def _state_of(place: Path, file_bytes: int | None, sha256: str, listener: Listener) -> str:
    if not place.is_file():
        return "gone"
    if file_bytes is not None and place.stat().st_size != file_bytes:
        return "changed"
    listener.say(f"Hashing {place.name}")
    return "stands" if sha256_of(place) == sha256 else "changed"
