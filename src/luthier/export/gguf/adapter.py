"""Export a run's adapter as a GGUF adapter, and keep it only if llama.cpp, with a base file under it, answers as the run's model does.

The base is the model that the adapter was trained over: a GGUF file of it that the user names, or one written here in F16 and kept
beside the adapter. Both lie in a temporary folder until they are proven; a file that the user named is only read.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from luthier.config.recipe import Recipe
from luthier.export.check_rows import read_check_rows
from luthier.export.gguf.adapter_plan import BASE_TYPE, AdapterPlan, earlier_report, plan_adapter_export
from luthier.export.gguf.container import Key, write_container
from luthier.export.gguf.prove import Proof, logits_of, proof_texts, prove
from luthier.export.gguf.truth import Truth, ask
from luthier.export.gguf.write import write_gguf
from luthier.export.logits import ATTENTION, compare_kept, compare_with_kept
from luthier.export.room import choose_place
from luthier.export.save import DTYPES
from luthier.export.stage import work_folder
from luthier.floor.errors import GateError, UsageError
from luthier.floor.files import disk_faults, sha256_of, sync_file, sync_folder
from luthier.floor.log import Listener, Silent
from luthier.floor.rundir import RunDir, lock_run
from luthier.floor.stop import StopFlag
from luthier.knowledge.gguf_types import GGUF_TYPES
from luthier.llamacpp import abi, process
from luthier.llamacpp.tasks import Measure
from luthier.modelling.adapters import attach_adapter
from luthier.modelling.dequantize import dequantize
from luthier.modelling.device import choose_device
from luthier.modelling.load import load_base
from luthier.reports.gguf_adapter import GgufAdapterReport
from luthier.reports.provenance import gather_provenance

NOISE_KL = 1e-6
"""Below this two programs agree; measured of F16 files: 5e-7 (bench/gguf/types.json)."""


def export_adapter(
    recipe: Recipe,
    run: RunDir,
    *,
    base: Path | None = None,
    listener: Listener = Silent(),
    stop: StopFlag | None = None,
    again: bool = False,
) -> GgufAdapterReport:
    """Write and prove the run's adapter; <run>/export/gguf-adapter holds it, its base if none was named, and the report.

    Raises GateError gate-tokens or gate-parity if base and adapter answer otherwise (nothing is kept), and what
    `plan_adapter_export` raises.
    """
    plan = plan_adapter_export(recipe, run, base=base, again=again)
    if plan.there is not None:
        return plan.there
    begun = time.monotonic()
    with lock_run(run), work_folder(plan.folder) as work:
        plan = _with_named_type(plan, work, stop)
        truth, kl_to_trained = _ask_adapter(plan, work, listener, stop)
        adapter, base_file = work / "adapter.gguf", plan.base
        if plan.source is not None:
            base_file = work / "base.gguf"
            write_gguf(plan.source, BASE_TYPE, base_file, listener=listener, stop=stop)
        _write_adapter(plan, adapter)
        listener.say(f"Checking the adapter in llama.cpp over {plan.base.name}")
        alone_kl = _kl_of_base_alone(plan, base_file, truth, work, stop)
        texts = proof_texts(truth, plan.tokenizer, with_hard_ones=recipe.export.gguf.proof_texts == "all")
        proof = prove(
            base_file,
            truth,
            plan.tokenizer,
            texts,
            adapter=adapter,
            library=plan.library,
            work=work,
            stop=stop,
        )
        _judge(plan, proof, alone_kl)
        figures = {
            "rows_checked": len(truth.rows),
            "answers_checked": len(truth.prompts),
            "kl_of_base_alone": alone_kl,
            "kl_to_trained": kl_to_trained,
            "seconds": time.monotonic() - begun,
        }
        return _publish(plan, adapter, base_file, proof, figures)


def _with_named_type(plan: AdapterPlan, work: Path, stop: StopFlag | None) -> AdapterPlan:
    """The plan with the type that a named base gives itself. Raises ModelError gguf-load if llama.cpp does not load that file."""
    if plan.source is not None:
        return plan
    measured = process.measure(Measure(library=str(plan.library), model=str(plan.base)), work=work, stop=stop)
    known = {type.file_type: type for type in GGUF_TYPES.values()}
    found = known.get(measured.file_type) if measured.file_type is not None else None
    if found is None and plan.inputs.recipe.export.gguf.most_kl is None:
        raise UsageError(
            "usage",
            f"the file is of type {measured.file_type} (enum llama_ftype), of which Luthier knows no bound",
            where=str(plan.base),
            fix="Say how far it may answer otherwise, in nats a token: export.gguf.most_kl=0.1",
        )
    return replace(plan, base_type=found)


def _ask_adapter(
    plan: AdapterPlan, work: Path, listener: Listener, stop: StopFlag | None
) -> tuple[Truth, float | None]:
    """The adapter over the base as its files hold it; and, for a quantized run, how far that is from the model that was trained."""
    inputs, recipe = plan.inputs, plan.inputs.recipe
    place = choose_place(
        inputs.base.parameters,
        device=choose_device(recipe.model.device),
        stored=inputs.dtype,
        must_be_exact=False,
    )
    rows = read_check_rows(recipe, inputs.data, plan.tokenizer)
    base = load_base(inputs.base_folder, dtype=DTYPES[place.dtype], device=place.device, attention=ATTENTION)
    model = attach_adapter(base, inputs.run.model, dtype=torch.float32)
    whose = "the adapter model"
    truth = ask(model, recipe, rows, plan.tokenizer, whose=whose, work=work, listener=listener, stop=stop)
    del model, base
    if inputs.quantization is None:
        return truth, None
    quantized = load_base(
        inputs.base_folder,
        dtype=inputs.seen_dtype,
        device=place.device,
        attention=ATTENTION,
        quantization=inputs.quantization,
    )
    seen = attach_adapter(
        dequantize(quantized, dtype=DTYPES[place.dtype]), inputs.run.model, dtype=torch.float32
    )
    trained = compare_with_kept(
        seen, truth.logits, label="logits of the model that was trained", listener=listener, stop=stop
    )
    listener.warn(
        f"The adapter was trained over {inputs.quantization.bits} bits: over the original weights it answers {trained.mean_kl:.3g} "
        "nats a token otherwise."
    )
    return truth, trained.mean_kl


def _kl_of_base_alone(
    plan: AdapterPlan, base: Path, truth: Truth, work: Path, stop: StopFlag | None
) -> float:
    kept = logits_of(base, truth, library=plan.library, work=work, stop=stop)
    difference = compare_kept(truth.logits, kept)
    kept.path.unlink()
    return difference.mean_kl


def _write_adapter(plan: AdapterPlan, path: Path) -> None:
    keys = [
        Key("general.type", "adapter"),
        Key("general.name", f"{plan.base_name}-{plan.inputs.run.name}"),
        Key("general.file_type", GGUF_TYPES["F32"].file_type),
        Key("general.base_model.count", 1),
        Key("general.base_model.0.name", plan.base_name),
        Key("adapter.type", "lora"),
        Key("adapter.lora.alpha", plan.form.alpha),
    ]
    with disk_faults(path):
        write_container(path, plan.architecture.family.architecture, keys, plan.form.tensors)
        sync_file(path)


def _judge(plan: AdapterPlan, proof: Proof, alone_kl: float) -> None:
    """Raise GateError gate-parity if base and adapter answer otherwise, or no nearer than the base does without it."""
    difference = proof.difference
    is_nearer = difference.mean_kl < alone_kl or alone_kl < NOISE_KL
    if difference.mean_kl <= plan.allowed_kl and is_nearer:
        return
    raise GateError(
        "gate-parity",
        f"the adapter over {plan.base.name} does not answer as the run's model does: mean KL {difference.mean_kl:.3g} nats a token, "
        f"allowed is {plan.allowed_kl:g}; it was deleted",
        where=f"farthest apart at {proof.worst}",
        problems=[
            f"the base's file alone: mean KL {alone_kl:.3g}",
            f"same first token {difference.top1_agreement:.1%}, perplexity {proof.perplexity_before:.4g} before, "
            f"{proof.perplexity_after:.4g} after",
        ],
        why="An adapter that leaves the workshop answers, over its base, as the trained model did.",
        fix="Name a file of the very base that it was trained over, in more bits; or leave --base out, and one is written.",
    )


def _publish(
    plan: AdapterPlan,
    adapter: Path,
    base: Path,
    proof: Proof,
    figures: dict[str, Any],
) -> GgufAdapterReport:
    """Give the proven files their names; earlier ones of this export go."""
    difference = proof.difference
    report = GgufAdapterReport(
        inputs_hash=plan.inputs_hash,
        provenance=gather_provenance(),
        folder=str(plan.folder),
        adapter=str(plan.adapter),
        adapter_bytes=adapter.stat().st_size,
        adapter_sha256=sha256_of(adapter),
        alpha=plan.form.alpha,
        modules=plan.form.modules,
        base=str(plan.base),
        base_bytes=base.stat().st_size,
        base_sha256=sha256_of(base),
        base_type=plan.base_type.name if plan.base_type else "another",
        base_is_named=plan.source is None,
        llama_cpp=abi.VERSION,
        texts_checked=proof.texts,
        tokens_checked=difference.tokens,
        mean_kl=difference.mean_kl,
        allowed_kl=plan.allowed_kl,
        max_kl=difference.max_kl,
        top1_agreement=difference.top1_agreement,
        max_logit_difference=difference.max_absolute,
        perplexity_before=proof.perplexity_before,
        perplexity_after=proof.perplexity_after,
        same_answer_share=proof.same_answer_share,
        stop_ids=proof.stop_ids,
        **figures,
    )
    earlier = earlier_report(plan.folder)
    with disk_faults(plan.folder):
        (plan.folder / "report.json").unlink(missing_ok=True)
        if earlier is not None:
            for name in _own_files(earlier):
                (plan.folder / name).unlink(missing_ok=True)
        if plan.source is not None:
            base.replace(plan.base)
        adapter.replace(plan.adapter)
        sync_folder(plan.folder)
    return report.write(plan.folder / "report.json")


def _own_files(report: GgufAdapterReport) -> list[str]:
    """Names of the files that an earlier export left; a base that the user named is none of them."""
    return [Path(report.adapter).name, *([] if report.base_is_named else [Path(report.base).name])]
