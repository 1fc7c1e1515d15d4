"""Export a run's merged model as GGUF files, and keep of them what llama.cpp answers as the model does.

Written to a temporary folder, loaded by llama.cpp in a process of its own, compared, and only then given its name.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from luthier.config.recipe import Recipe
from luthier.export.check_rows import read_check_rows
from luthier.export.gguf.architecture import ignored_window
from luthier.export.gguf.container import Key, encode
from luthier.export.gguf.earlier import stale_files
from luthier.export.gguf.importance import weigh_columns
from luthier.export.gguf.plan import Plan, allowed_kl, plan_export
from luthier.export.gguf.prove import Proof, proof_texts, prove
from luthier.export.gguf.truth import Truth, ask, load_merged
from luthier.export.gguf.write import write_gguf
from luthier.export.stage import work_folder
from luthier.floor.errors import GateError
from luthier.floor.files import disk_faults, sha256_of, sync_folder
from luthier.floor.log import Listener, Silent
from luthier.floor.rundir import RunDir, lock_run
from luthier.floor.stop import StopFlag
from luthier.knowledge.gguf_types import TypeFacts
from luthier.llamacpp import abi, process
from luthier.llamacpp.blocks import block_encoder
from luthier.llamacpp.tasks import Quantize
from luthier.reports.evaluate import MetricChange
from luthier.reports.gguf import GgufFile, GgufReport, Importance
from luthier.reports.provenance import gather_provenance


@dataclass(frozen=True)
class Bench:
    """What the files of one export share."""

    work: Path
    """A temporary folder that is removed at the end."""
    truth: Truth
    importance: Importance | None
    """None if no missing file weighs columns; else the numbers lie in `importances`."""
    listener: Listener
    stop: StopFlag | None

    @property
    def importances(self) -> Path:
        return self.work / "importances.safetensors"

    @property
    def way(self) -> Path:
        """The file from which llama.cpp makes the others."""
        return self.work / "way.gguf"


def export_gguf(
    recipe: Recipe,
    run: RunDir,
    *,
    listener: Listener = Silent(),
    stop: StopFlag | None = None,
    again: bool = False,
) -> GgufReport:
    """Write the types of `export.gguf.types` that are not there yet; <run>/export/gguf holds files and report.

    Raises GateError gate-tokens or gate-parity for a file that answers otherwise (files that passed before it stay), and what
    `plan_export` raises.
    """
    plan = plan_export(recipe, run, again=again)
    if not plan.missing:
        return GgufReport.read(plan.folder / "report.json").model_copy(update={"files": plan.kept})
    window = ignored_window(plan.source.architecture)
    if window is not None:
        listener.warn(f"llama.cpp leaves the attention window of {window:,} tokens out: longer texts differ.")
    if plan.source.vocabulary.is_normalizing:
        listener.warn(
            "llama.cpp does not bring texts into Unicode NFC, as the tokenizer does: send it NFC text."
        )
    if recipe.export.gguf.imatrix and plan.calibration is None:
        listener.warn("The importance of columns changes nothing in types of 8 bits and more.")
    begun = time.monotonic()
    with lock_run(run), work_folder(plan.folder) as work:
        bench = _ask(plan, work, listener, stop)
        report = None
        for type in plan.missing:
            made, file = _make(plan, type, bench)
            name = plan.path(type).name
            plan = replace(plan, kept=(*(each for each in plan.kept if Path(each.path).name != name), file))
            _give_name(plan, made, file, listener)
            report = _write_report(plan, bench.truth, seconds=time.monotonic() - begun)
    assert report is not None, "at least one type was missing"
    return report


def _ask(plan: Plan, work: Path, listener: Listener, stop: StopFlag | None) -> Bench:
    """Load the merged model once: for its logits and answers, and for the importance of columns."""
    rows = read_check_rows(plan.recipe, plan.data, plan.tokenizer)
    model = load_merged(plan.source.architecture.folder, plan.facts, plan.recipe)
    truth = ask(
        model,
        plan.recipe,
        rows,
        plan.tokenizer,
        whose="the merged model",
        work=work,
        listener=listener,
        stop=stop,
    )
    bench = Bench(work, truth, None, listener, stop)
    if plan.calibration is None or not any(map(plan.weighs, plan.missing)):
        return bench
    importance = weigh_columns(
        model,
        plan.source.architecture,
        plan.calibration,
        plan.recipe,
        bench.importances,
        listener=listener,
        stop=stop,
    )
    return replace(bench, importance=importance)


def _make(plan: Plan, type: TypeFacts, bench: Bench) -> tuple[Path, GgufFile]:
    """Write one file under a temporary name and prove it."""
    made, truth, listener = bench.work / f"{type.name}.gguf", bench.truth, bench.listener
    if plan.is_made_by_llama_cpp(type):
        _quantize(plan, type, made, bench)
    else:
        encoder = block_encoder(plan.library, encode)
        write_gguf(plan.source, type, made, encode=encoder, listener=listener, stop=bench.stop)
    listener.say(f"Checking {type.name} in llama.cpp")
    proof = _prove(plan, made, bench)
    allowed = _judge(plan, type, proof)
    difference = proof.difference
    file = GgufFile(
        type=type.name,
        path=str(plan.path(type)),
        file_bytes=made.stat().st_size,
        sha256=sha256_of(made),
        made_by=f"llama.cpp {abi.VERSION}" if plan.is_made_by_llama_cpp(type) else "gguf",
        importance=bench.importance if plan.weighs(type) else None,
        texts_checked=proof.texts,
        tokens_checked=difference.tokens,
        mean_kl=difference.mean_kl,
        allowed_kl=allowed,
        max_kl=difference.max_kl,
        top1_agreement=difference.top1_agreement,
        max_logit_difference=difference.max_absolute,
        perplexity_before=proof.perplexity_before,
        perplexity_after=proof.perplexity_after,
        answers_checked=len(truth.prompts),
        same_answer_share=proof.same_answer_share,
        stop_ids=proof.stop_ids,
        metrics={name: MetricChange(before=was, after=now) for name, (was, now) in proof.metrics.items()},
    )
    return made, file


def _quantize(plan: Plan, type: TypeFacts, made: Path, bench: Bench) -> None:
    """Let llama.cpp make a file, from one without rounding that was proven itself."""
    lossless, listener = plan.lossless, bench.listener
    if not bench.way.exists():
        keys = _importance_keys(bench.importance) if bench.importance else []
        write_gguf(plan.source, lossless, bench.way, keys=keys, listener=listener, stop=bench.stop)
        listener.say(f"Checking the {lossless.name} file from which llama.cpp makes the others")
        _judge(plan, lossless, _prove(plan, bench.way, bench))
    listener.say(f"llama.cpp makes {type.name}")
    task = Quantize(
        library=str(plan.library),
        source=str(bench.way),
        target=str(made),
        file_type=type.file_type,
        threads=torch.get_num_threads(),
        importance=str(bench.importances) if plan.weighs(type) else None,
    )
    process.quantize(task, work=bench.work, stop=bench.stop)


def _importance_keys(importance: Importance) -> list[Key]:
    """What llama-quantize writes of an importance matrix, the name of its file left out; llama.cpp copies keys from file to file."""
    return [
        Key("quantize.imatrix.dataset", "training rows of the run, rendered as in training"),
        Key("quantize.imatrix.entries_count", importance.matrices),
        Key("quantize.imatrix.chunks_count", importance.rows),
    ]


def _give_name(plan: Plan, made: Path, file: GgufFile, listener: Listener) -> None:
    """Put a proven file in its place. Files of other inputs go with the report that spoke for them."""
    final, report = Path(file.path), plan.folder / "report.json"
    stale = stale_files(plan.folder, plan.kept, ours=plan.own_names)
    with disk_faults(final):
        # A report never stands beside a file that is not its own.
        report.unlink(missing_ok=True)
        for path in stale:
            path.unlink()
            listener.warn(f"{path.name} was made from other inputs and was removed")
        made.replace(final)
        sync_folder(final.parent)


def _prove(plan: Plan, file: Path, bench: Bench) -> Proof:
    truth = bench.truth
    texts = proof_texts(truth, plan.tokenizer, with_hard_ones=plan.recipe.export.gguf.proof_texts == "all")
    return prove(file, truth, plan.tokenizer, texts, library=plan.library, work=bench.work, stop=bench.stop)


def _judge(plan: Plan, type: TypeFacts, proof: Proof) -> float:
    """The bound that the file keeps. Raises GateError gate-parity if it does not."""
    allowed = allowed_kl(plan.recipe, type.name)
    difference = proof.difference
    if difference.mean_kl <= allowed:
        return allowed
    raise GateError(
        "gate-parity",
        f"the {type.name} file does not answer as the merged model does: mean KL {difference.mean_kl:.3g} nats a token, "
        f"allowed is {allowed:g}; it was deleted",
        where=f"farthest apart at {proof.worst}",
        problems=[
            f"same first token {difference.top1_agreement:.1%}, perplexity {proof.perplexity_before:.4g} before, "
            f"{proof.perplexity_after:.4g} after"
        ],
        why="A file that leaves the workshop answers as the trained model did.",
        fix="Export in more bits: luthier export gguf --quant Q8_0; or allow more: export.gguf.most_kl=...",
    )


def _write_report(plan: Plan, truth: Truth, *, seconds: float) -> GgufReport:
    vocabulary = plan.source.vocabulary
    report = GgufReport(
        inputs_hash=plan.inputs_hash,
        seconds=seconds,
        provenance=gather_provenance(),
        folder=str(plan.folder),
        source=str(plan.source.architecture.folder),
        tokenizer=vocabulary.rule,
        is_normalizing=vocabulary.is_normalizing,
        rows_checked=len(truth.rows),
        llama_cpp=abi.VERSION,
        gate_metric=plan.recipe.evaluate.gate_metric,
        files=plan.kept,
    )
    return report.write(plan.folder / "report.json")
