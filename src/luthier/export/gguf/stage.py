"""Export a run's merged model as GGUF files, and keep of them what llama.cpp answers as the model does.

Written to a temporary folder, loaded by llama.cpp in a process of its own, compared, and only then given its name.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from luthier.config.recipe import Recipe
from luthier.export.check_rows import hash_check_rows, read_check_rows
from luthier.export.gguf.architecture import ignored_window, open_architecture
from luthier.export.gguf.container import load_gguf
from luthier.export.gguf.earlier import stale_files, standing_files
from luthier.export.gguf.prove import Proof, proof_texts, prove
from luthier.export.gguf.truth import Truth, ask_merged
from luthier.export.gguf.vocabulary import read_vocabulary
from luthier.export.gguf.write import BYTES_BESIDE_TENSORS, Source, plain_bytes, write_gguf
from luthier.export.inputs import read_inputs
from luthier.export.stage import MODEL, finished_merge, work_folder
from luthier.floor.errors import EnvironmentFault, GateError, UsageError
from luthier.floor.files import disk_faults, free_bytes, free_room, sha256_of, sync_folder
from luthier.floor.log import Listener, Silent
from luthier.floor.rundir import RunDir, lock_run
from luthier.floor.stop import StopFlag
from luthier.floor.units import format_bytes
from luthier.knowledge.gguf_types import GGUF_TYPES, TypeFacts
from luthier.knowledge.model_folder import ModelFacts, check_model_folder
from luthier.llamacpp import abi, process
from luthier.llamacpp.find import need_library
from luthier.llamacpp.tasks import Quantize
from luthier.reports.data import DataReport
from luthier.reports.evaluate import MetricChange
from luthier.reports.gguf import GgufFile, GgufReport
from luthier.reports.provenance import gather_provenance
from luthier.reports.train import TrainReport
from luthier.text.tokenizer import hash_tokenizer, load_tokenizer

STAGE = "export/gguf"
ADAPTERS = ("lora", "qlora")
WRITER = 3
"""Counts up when the same inputs make another file."""


@dataclass(frozen=True)
class Plan:
    """What an export will do, judged before anything is loaded or written."""

    run: RunDir
    recipe: Recipe
    source: Source
    facts: ModelFacts
    tokenizer: PreTrainedTokenizerBase
    data: DataReport | None
    library: Path
    kept: tuple[GgufFile, ...]
    """Files of the same inputs that are there already."""
    missing: tuple[TypeFacts, ...]
    inputs_hash: str

    @property
    def folder(self) -> Path:
        return self.run.path / STAGE

    def path(self, type: TypeFacts) -> Path:
        return self.folder / f"{self.source.name}-{type.name}.gguf"

    @property
    def lossless(self) -> TypeFacts:
        """The type that holds the merged weights without rounding, from which the mixed types are made."""
        return GGUF_TYPES[{"bfloat16": "BF16", "float16": "F16"}.get(self.facts.dtype, "F32")]

    def bytes_of(self, type: TypeFacts) -> int:
        """How large a file becomes, about."""
        if type.is_plain:
            return plain_bytes(self.source, type)
        return int(self.facts.parameters * type.bits / 8) + BYTES_BESIDE_TENSORS

    @property
    def needed_bytes(self) -> int:
        """What all missing files take, and the one on the way to the mixed types."""
        way = 0 if all(type.is_plain for type in self.missing) else self.bytes_of(self.lossless)
        return way + sum(map(self.bytes_of, self.missing))


def needs_merge(recipe: Recipe, run: RunDir) -> bool:
    """Whether the run trained an adapter, and `luthier merge` would merge it anew: none is there, or one of other inputs.

    Raises as `read_inputs` does if adapter or base is missing.
    """
    if not run.is_finished or TrainReport.read(run.report("train")).method not in ADAPTERS:
        return False
    return finished_merge(read_inputs(recipe, run)) is None


def plan_export(recipe: Recipe, run: RunDir, *, again: bool = False) -> Plan:
    """Judge model, tokenizer, tools and disk.

    Raises UsageError if the run is not trained or not merged, ModelError if there is no GGUF form of it, EnvironmentFault if gguf,
    llama.cpp or room on the disk is missing.
    """
    if not run.is_finished or needs_merge(recipe, run):
        raise UsageError(
            "run-unfinished",
            f"the run {run.name} has no merged model of these inputs yet",
            where=str(run.path),
            fix="Merge it first: luthier merge",
        )
    load_gguf()
    library = need_library().path
    merged = run.stage("merge") / MODEL
    train = TrainReport.read(run.report("train"))
    folder = merged if train.method in ADAPTERS else run.model
    facts = check_model_folder(folder)
    architecture = open_architecture(folder, facts)
    tokenizer = load_tokenizer(folder)
    vocabulary = read_vocabulary(
        tokenizer, vocabulary_tokens=architecture.vocabulary_tokens, where=str(folder)
    )
    name = f"{Path(recipe.model.name or 'model').name}-{run.name}"
    data = DataReport.read(run.report("data")) if run.report("data").is_file() else None
    inputs_hash = _hash_inputs(recipe, facts, tokenizer, data)
    kept = standing_files(run.path / STAGE, inputs_hash)
    wanted = dict.fromkeys(recipe.export.gguf.types)
    there = set() if again else {file.type for file in kept if file.mean_kl <= allowed_kl(recipe, file.type)}
    missing = tuple(GGUF_TYPES[type] for type in wanted if type not in there)
    source = Source(architecture, vocabulary, name)
    plan = Plan(run, recipe, source, facts, tokenizer, data, library, kept, missing, inputs_hash)
    if missing and free_bytes(plan.folder) < plan.needed_bytes:
        raise EnvironmentFault(
            "env-disk",
            f"the export takes {format_bytes(plan.needed_bytes)}, and {free_room(plan.folder)} are free",
            where=str(plan.folder),
            fix="Make room, then repeat the command.",
        )
    return plan


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
    begun = time.monotonic()
    with lock_run(run), work_folder(plan.folder) as work:
        rows = read_check_rows(recipe, plan.data, plan.tokenizer)
        folder = plan.source.architecture.folder
        truth = ask_merged(
            folder, plan.facts, recipe, rows, plan.tokenizer, work=work, listener=listener, stop=stop
        )
        report = None
        for type in plan.missing:
            made, file = _make(plan, type, truth, work, listener, stop)
            plan = replace(plan, kept=(*(each for each in plan.kept if each.type != type.name), file))
            _give_name(plan, made, file, listener)
            report = _write_report(plan, truth, seconds=time.monotonic() - begun)
    assert report is not None, "at least one type was missing"
    return report


def _make(
    plan: Plan, type: TypeFacts, truth: Truth, work: Path, listener: Listener, stop: StopFlag | None
) -> tuple[Path, GgufFile]:
    """Write one file under a temporary name and prove it."""
    made, made_by = work / f"{type.name}.gguf", "gguf"
    if type.is_plain:
        write_gguf(plan.source, type, made, listener=listener, stop=stop)
    else:
        way = work / f"way-{plan.lossless.name}.gguf"
        if not way.exists():
            write_gguf(plan.source, plan.lossless, way, listener=listener, stop=stop)
            listener.say(f"Checking the {plan.lossless.name} file from which llama.cpp makes the others")
            _judge(plan, plan.lossless, _prove(plan, way, truth, work, stop))
        listener.say(f"llama.cpp makes {type.name}")
        task = Quantize(
            library=str(plan.library),
            source=str(way),
            target=str(made),
            file_type=type.file_type,
            threads=torch.get_num_threads(),
        )
        process.quantize(task, work=work, stop=stop)
        made_by = f"llama.cpp {abi.VERSION}"
    listener.say(f"Checking {type.name} in llama.cpp")
    proof = _prove(plan, made, truth, work, stop)
    allowed = _judge(plan, type, proof)
    difference = proof.difference
    file = GgufFile(
        type=type.name,
        path=str(plan.path(type)),
        file_bytes=made.stat().st_size,
        sha256=sha256_of(made),
        made_by=made_by,
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


def _give_name(plan: Plan, made: Path, file: GgufFile, listener: Listener) -> None:
    """Put a proven file in its place. Files of other inputs go with the report that spoke for them."""
    final, report = Path(file.path), plan.folder / "report.json"
    stale = stale_files(plan.folder, plan.kept, ours=[plan.path(type).name for type in GGUF_TYPES.values()])
    with disk_faults(final):
        # A report never stands beside a file that is not its own.
        report.unlink(missing_ok=True)
        for path in stale:
            path.unlink()
            listener.warn(f"{path.name} was made from other inputs and was removed")
        made.replace(final)
        sync_folder(final.parent)


def _prove(plan: Plan, file: Path, truth: Truth, work: Path, stop: StopFlag | None) -> Proof:
    texts = proof_texts(truth, plan.tokenizer, with_hard_ones=plan.recipe.export.gguf.proof_texts == "all")
    return prove(file, truth, plan.tokenizer, texts, library=plan.library, work=work, stop=stop)


def allowed_kl(recipe: Recipe, type: str) -> float:
    """The largest mean KL divergence at which a file of `type` is kept."""
    return recipe.export.gguf.most_kl or GGUF_TYPES[type].most_kl


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


def _hash_inputs(
    recipe: Recipe, facts: ModelFacts, tokenizer: PreTrainedTokenizerBase, data: DataReport | None
) -> str:
    # Types and bound are judged file by file: another bound makes no other file.
    settings = recipe.export.gguf.model_dump(mode="json", exclude={"types", "most_kl"})
    parts: Sequence[object] = (
        WRITER,
        abi.VERSION,
        facts.fingerprint,
        hash_tokenizer(tokenizer),
        hash_check_rows(recipe, data),
        settings,
        recipe.evaluate.max_prompt_tokens,
    )
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


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
        files=plan.kept,
    )
    return report.write(plan.folder / "report.json")
