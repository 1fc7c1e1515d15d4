"""Hold anyone's file or server against a run's model: `luthier verify`.

The subject is only read, whatever the verdict; what becomes of a "no" is the caller's.
"""

import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from luthier.config.recipe import Recipe
from luthier.export.bench import release
from luthier.export.parity.client import Client
from luthier.export.parity.findings import Findings
from luthier.export.parity.folder import measure_folder
from luthier.export.parity.gguf_file import measure_gguf
from luthier.export.parity.judge import Budget, Metrics, budget_of, find_type, problems_of, type_in_name
from luthier.export.parity.prompts import asked_prompts
from luthier.export.parity.reference import Case, ModelPlace, ask_reference, find_reference, trained_place
from luthier.export.parity.server import measure_server
from luthier.export.stage import work_folder
from luthier.floor.errors import GateError, UsageError
from luthier.floor.files import sha256_of
from luthier.floor.log import Listener, Silent
from luthier.floor.lookup import did_you_mean
from luthier.floor.rundir import RunDir, lock_run
from luthier.floor.stop import StopFlag
from luthier.knowledge.adapter_folder import is_adapter
from luthier.knowledge.gguf_types import TypeFacts
from luthier.llamacpp.find import need_library
from luthier.modelling.device import choose_device, describe_device
from luthier.reports.evaluate import MetricChange
from luthier.reports.provenance import gather_provenance
from luthier.reports.verify import Kind, TokenCheck, VerifyReport

STAGE = "verify"
MOST_NAME = 60
ADDRESSES = ("http://", "https://")
NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")
WHY = "A file that leaves the workshop answers as the trained model did."
Measure = Callable[[Case, Path], Findings]


@dataclass(frozen=True)
class Subject:
    """What is held against the run."""

    name: str
    kind: Kind
    path: Path | None
    """None of a server."""
    measure: Measure


def verify(
    recipe: Recipe,
    run: RunDir,
    target: str,
    *,
    key: str | None = None,
    model: str | None = None,
    listener: Listener = Silent(),
    stop: StopFlag | None = None,
) -> VerifyReport:
    """Compare `target`, a GGUF file, a folder or a server's address, with the run's model; <run>/verify/ keeps the report.

    `key` and `model` are a server's: the key it asks for, and the one of its models that is meant.
    Raises UsageError if the target is nothing of the kind or the run has no model, ModelError if it cannot be loaded, EnvironmentFault
    if a server cannot be reached. That the two are too far apart stands in the report.
    """
    begun = time.monotonic()
    if target.startswith(ADDRESSES):
        with Client(target, key, stop=stop) as client:
            subject = _server(client, model, run, listener)
            return _verify(recipe, run, subject, listener, stop, begun)
    if model is not None or key is not None:
        raise UsageError(
            "usage",
            f"{target} is no address, so it has neither models to choose from nor a key",
            where="the command line",
        )
    return _verify(recipe, run, _on_disk(recipe, target, listener, stop), listener, stop, begun)


def _verify(
    recipe: Recipe, run: RunDir, subject: Subject, listener: Listener, stop: StopFlag | None, begun: float
) -> VerifyReport:
    reference = find_reference(recipe, run, subject=subject.path)
    with lock_run(run), work_folder(run.stage(STAGE)) as work:
        case = ask_reference(
            recipe,
            run,
            reference,
            with_answers=subject.kind == "server",
            work=work,
            listener=listener,
            stop=stop,
        )
        release(choose_device(recipe.model.device))
        findings = subject.measure(case, work)
        report = _report(case, subject, findings, seconds=time.monotonic() - begun)
        return report.write(report_path(run, subject.name))


def report_path(run: RunDir, subject: str) -> Path:
    """Where the report on a subject lies: one file each, the newest verification's."""
    shown = NOT_IN_NAMES.sub("-", "-".join(subject.split("://")[-1].split("/")[-2:])).strip("-.")[-MOST_NAME:]
    return run.stage(STAGE) / f"{shown}-{hashlib.sha256(subject.encode()).hexdigest()[:8]}.json"


def _on_disk(recipe: Recipe, target: str, listener: Listener, stop: StopFlag | None) -> Subject:
    path = Path(target).expanduser().resolve()  # through `latest`, which will be another run
    if path.is_file():
        library = need_library().path
        return Subject(
            str(path),
            "gguf",
            path,
            lambda case, work: measure_gguf(
                path, case, library=library, work=work, listener=listener, stop=stop
            ),
        )
    if is_adapter(path):
        place = trained_place(recipe, path)
        return _folder(path, "adapter", place, listener, stop)
    if (path / "config.json").is_file():
        return _folder(path, "model", ModelPlace(path, None, None), listener, stop)
    inside = f"; of a run the model is meant: {target}/model" if (path / "config_used.yaml").is_file() else ""
    raise UsageError(
        "usage",
        f"{target!r} is no GGUF file, no model or adapter folder and no address of a server{inside}",
        where="the command line",
        fix="For example: luthier verify model.gguf --against latest; of a server the whole address: "
        "luthier verify http://127.0.0.1:8000 --against latest",
    )


def _folder(path: Path, kind: Kind, place: ModelPlace, listener: Listener, stop: StopFlag | None) -> Subject:
    return Subject(
        str(path),
        kind,
        path,
        lambda case, work: measure_folder(place, case, work=work, listener=listener, stop=stop),
    )


def _server(client: Client, model: str | None, run: RunDir, listener: Listener) -> Subject:
    """The model that is meant, asked for before a model is loaded here: a server that is away is told of at once.

    Of several models that nobody chose from, it is the one that bears the run's name.
    """
    listed = client.models()
    names = [str(each["id"]) for each in listed]
    own = run.path.resolve().name
    if model is None and len(names) > 1 and own in names:
        model = own
    if model is None and len(names) > 1:
        raise UsageError(
            "usage",
            f"{client.root} serves {len(names)} models: {', '.join(names[:8])}",
            where="the command line",
            fix=f"Say which one is meant: --model {names[0]}",
        )
    if model is not None and model not in names:
        raise UsageError(
            "usage",
            f"{client.root} serves no {model!r}{did_you_mean(model, names)}",
            where="--model",
            fix=f"It serves: {', '.join(names[:8])}",
        )
    chosen = model or names[0]
    owner = str(next(each for each in listed if each["id"] == chosen).get("owned_by", ""))
    return Subject(
        f"{client.root} {chosen}",
        "server",
        None,
        lambda case, work: measure_server(client, chosen, owner, case, listener=listener),
    )


def _report(case: Case, subject: Subject, findings: Findings, *, seconds: float) -> VerifyReport:
    recipe, likeness = case.recipe, findings.likeness
    file_bytes = subject.path.stat().st_size if subject.kind == "gguf" and subject.path else None
    type = type_in_name(subject.name) if subject.kind == "server" else _type_of(case, findings, file_bytes)
    metrics: Metrics = case.truth.task_metrics(findings.answers, case.tokenizer) if findings.answers else {}
    budget = budget_of(recipe, findings, type, metrics)
    problems = problems_of(findings, budget, metrics)
    nothing = float("nan")
    difference = likeness.difference if likeness else None
    return VerifyReport(
        inputs_hash=_hash(case, subject, budget),
        seconds=seconds,
        provenance=gather_provenance(device=describe_device(choose_device(recipe.model.device))),
        subject=subject.name,
        kind=subject.kind,
        type=type.name if type else None,
        sha256=sha256_of(subject.path) if subject.kind == "gguf" and subject.path else None,
        subject_bytes=file_bytes,
        reference=case.reference.name,
        reference_folder=str(case.reference.place.folder),
        rows_checked=len(case.truth.rows),
        tokens=TokenCheck(
            told=findings.told,
            by=findings.by,
            prompts=findings.prompts,
            texts=findings.texts,
            shapes=case.rows.shape_counts(each.row for each in asked_prompts(case)),
            differ=len(findings.token_faults),
        ),
        tokens_checked=difference.tokens if difference else 0,
        candidates=likeness.candidates if likeness else None,
        mean_kl=difference.mean_kl if difference else nothing,
        allowed_kl=budget.most_kl,
        max_kl=difference.max_kl if difference else nothing,
        top1_agreement=difference.top1_agreement if difference else nothing,
        perplexity_before=likeness.perplexity_before if likeness else nothing,
        perplexity_after=likeness.perplexity_after if likeness else nothing,
        perplexity_tokens=likeness.perplexity_tokens if likeness else 0,
        answers_checked=len(findings.answers),
        same_answer_share=findings.same_answer_share,
        answers_in=findings.answers_in,
        metrics={name: MetricChange(before=before, after=after) for name, (before, after) in metrics.items()},
        gate_metric=budget.gate_metric,
        passed=not problems,
        problems=tuple(problems),
        worst=likeness.worst if likeness else "",
        notes=findings.notes,
    )


def _type_of(case: Case, findings: Findings, file_bytes: int | None) -> TypeFacts | None:
    if file_bytes is None:
        return None
    bits = file_bytes * 8 / case.reference.place.facts.parameters
    return find_type(findings.file_type, bits_a_weight=bits)


def _hash(case: Case, subject: Subject, budget: Budget) -> str:
    facts = [
        subject.name,
        case.reference.place.facts.fingerprint,
        case.recipe.verify.model_dump(mode="json"),
        str(budget),
        [[row.origin, row.ids] for row in case.truth.rows],
    ]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def refusal(run: RunDir, report: VerifyReport) -> GateError:
    """Why a subject is not taken for the run's model: gate-tokens or gate-parity."""
    is_tokens = report.tokens.differ > 0
    fixes = {
        "gguf": "Make the file again from this run: luthier export gguf",
        "model": f"Merge again: luthier merge --again --run {run.path}",
        "adapter": f"Take the run's own adapter: {run.model}",
        "server": "See which model, template and quantization it serves; a coarser quantization has a wider bound: "
        "verify.most_kl=0.15",
    }
    return GateError(
        "gate-tokens" if is_tokens else "gate-parity",
        f"{report.subject} {'reads otherwise than' if is_tokens else 'does not answer as'} the {report.reference} model of "
        f"{run.name} does{'' if report.kind == 'server' else '; it was left as it is'}",
        where=str(report_path(run, report.subject)),
        problems=report.problems,
        why=WHY,
        fix=fixes[report.kind],
    )
