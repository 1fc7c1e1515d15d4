"""The train stage: from prepared tokens and a base model to a trained model in the run's folder."""

import dataclasses
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from luthier.config.method import FullMethod, LoraMethod, QloraMethod, ScratchMethod
from luthier.config.recipe import Recipe
from luthier.encoding.open import PreparedRows, training_rows
from luthier.floor.files import disk_faults
from luthier.floor.log import Listener, Silent
from luthier.floor.rundir import RunDir
from luthier.floor.stop import StopFlag
from luthier.knowledge.hardware import peak_flops_of
from luthier.knowledge.model_folder import check_model_folder, find_model
from luthier.modelling.adapters import add_adapter, save_trained, trained_parameters
from luthier.modelling.attention import VARLEN, choose_attention
from luthier.modelling.device import (
    Precision,
    choose_device,
    choose_precision,
    describe_device,
)
from luthier.modelling.flops import training_flops_per_token
from luthier.modelling.load import base_config, build_scratch, load_base, require_bitsandbytes
from luthier.reports.data import DataReport
from luthier.reports.train import TrainReport
from luthier.text.render import stop_ids
from luthier.text.tokenizer import load_tokenizer
from luthier.tokens.row_order import ORDER_VERSION, RowOrder, takes_windows
from luthier.tokens.rows import TrainingRows
from luthier.tokens.store import TokenStore
from luthier.train.batches import BatchMaker
from luthier.train.books import OUTCOMES, balanced_order
from luthier.train.checkpoint import discard_all, sweep
from luthier.train.fast_paths import fixed_pack_tokens, take_fast_paths
from luthier.train.graphs import StepGraphs
from luthier.train.loop import Job, fit
from luthier.train.memory_faults import SAVED, explained, in_step
from luthier.train.metrics import MetricsFile
from luthier.train.optimizer import build_optimizer
from luthier.train.progress import Progress
from luthier.train.report import describe, make_report
from luthier.train.save import resume, take_best, warn_of_little_room
from luthier.train.trackers import Trackers, open_trackers
from luthier.train.validate import Validator, pack_validation


def train(
    recipe: Recipe,
    run: RunDir,
    *,
    listener: Listener | None = None,
    stop: StopFlag | None = None,
    again: bool = False,
) -> TrainReport:
    """Train as the recipe says, going on from the newest valid checkpoint of the run if there is one.

    The run keeps the model with its tokenizer, metrics.jsonl, the tracker's logs and the checkpoints. A finished run with the
    same inputs is returned as it is, unless `again`: then it is trained anew from step 0.
    """
    listener, stop = listener or Silent(), stop or StopFlag()
    data = DataReport.read(run.report("data"))
    inputs_hash = hash_inputs(recipe, data)
    if run.is_finished and not again:
        report = TrainReport.read(run.report("train"))
        if report.inputs_hash == inputs_hash:
            return report
    started = time.perf_counter()
    outcomes = run.stage("train") / OUTCOMES
    with training_rows(recipe, data, outcomes=outcomes, listener=listener) as rows:
        with explained(recipe, "while the model was put into memory", stage="loading"):
            job, base_fingerprint = prepare_job(recipe, run, data, rows, listener, stop)
        progress = run_job(job, again=again)
        withdraw_report(run)
        save_trained(job.model, job.tokenizer, run.model)
        report = make_report(
            job,
            progress,
            rows,
            inputs_hash=inputs_hash,
            base_fingerprint=base_fingerprint,
            seconds=time.perf_counter() - started,
        )
    return report.write(run.report("train"))


def run_job(job: Job, *, again: bool) -> Progress:
    """Take the steps that are still to be taken; returns how far the run is then, which is its end."""
    recipe, run = job.recipe, job.run
    for folder in (run.path, run.checkpoints):
        sweep(folder)
    if again and run.is_finished:
        withdraw_report(run)
        discard_all(run.checkpoints)
    progress = resume(job)
    warn_of_little_room(job)
    job.metrics.cut_back(progress.step)
    job.trackers.start(progress.step)
    try:
        with explained(recipe, lambda: in_step(job, progress), saved=SAVED):
            job = dataclasses.replace(job, graphs=StepGraphs(job) if job.wants_graphs else None)
            fit(job, progress)
            take_best(job, progress)
    finally:
        job.trackers.close()
    return progress


def withdraw_report(run: RunDir) -> None:
    """Take the report of an earlier training away before its model or checkpoints change: a report stands for what lies there."""
    path = run.report("train")
    with disk_faults(path):
        path.unlink(missing_ok=True)


def check_machine(recipe: Recipe) -> None:
    """Refuse what this machine lacks before a row is read: the device, the number format, the library of a quantized base.

    Raises EnvironmentFault with the hardware's name or the line that installs the library.
    """
    choose_precision(recipe.train.precision, choose_device(recipe.model.device))
    if isinstance(recipe.method, QloraMethod):
        require_bitsandbytes()


def hash_inputs(recipe: Recipe, data: DataReport) -> str:
    """Hash of everything that decides the result of training."""
    parts = {
        "model": recipe.model.model_dump(mode="json"),
        "method": recipe.method.model_dump(mode="json"),
        "train": recipe.train.model_dump(mode="json", exclude={"log", "threads", "profile"}),
        "tokens": data.train.fingerprint,
        "validation": data.validation.fingerprint if data.validation else None,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def prepare_job(
    recipe: Recipe, run: RunDir, data: DataReport, rows: PreparedRows, listener: Listener, stop: StopFlag
) -> tuple[Job, str]:
    """Load model and tokenizer, and put them together with the rows; returns the job and the base's fingerprint."""
    if recipe.train.threads:
        torch.set_num_threads(recipe.train.threads)
    device = choose_device(recipe.model.device)
    precision = choose_precision(recipe.train.precision, device)
    tokenizer = load_tokenizer(Path(data.tokenizer))
    order = balanced_order(recipe, data, rows)
    attention = choose_attention(
        recipe.model.attention,
        device,
        computes_in_fp32=precision.name == "fp32",
        config=base_config(recipe),
    )
    model, fingerprint = make_model(
        recipe, tokenizer, device=device, precision=precision, attention=attention
    )
    parameters = trained_parameters(model)
    batches = make_batches(rows, recipe, order, device=device, attention=attention, tokenizer=tokenizer)
    wants_graphs = take_fast_paths(
        model, recipe, batches, precision=precision, total_steps=order.total_steps, listener=listener
    )
    listener.say(describe(model, parameters, order, data, device, precision, attention))
    job = Job(
        recipe=recipe,
        run=run,
        model=model,
        tokenizer=tokenizer,
        parameters=parameters,
        optimizer=build_optimizer(parameters, recipe.train.optimizer, lr=recipe.train.lr),
        scaler=torch.amp.GradScaler(device.type, enabled=precision.needs_scaler),
        order=order,
        batches=batches,
        validator=make_validator(recipe, data, batches, tokenizer, listener),
        precision=precision,
        device=device,
        identity=make_identity(recipe, data, fingerprint, parameters, total_steps=order.total_steps),
        flops_per_token=training_flops_per_token(model),
        peak_flops=peak_flops_of(describe_device(device)),
        metrics=MetricsFile(run.metrics, listener),
        trackers=trackers_of(recipe, run, listener),
        listener=listener,
        stop=stop,
        wants_graphs=wants_graphs,
    )
    return job, fingerprint


def trackers_of(recipe: Recipe, run: RunDir, listener: Listener) -> Trackers:
    """Where the recipe sends the metrics."""
    return open_trackers(
        recipe.train.log.trackers,
        logs=run.logs,
        project=recipe.train.log.project,
        run_name=run.name,
        config=recipe.model_dump(mode="json"),
        listener=listener,
    )


def make_model(
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerBase,
    *,
    device: torch.device,
    precision: Precision,
    attention: str,
) -> tuple[Any, str]:
    """The model as the method wants it, seeded before any weight is made, and the base's fingerprint."""
    method, seed = recipe.method, recipe.train.seed
    if isinstance(method, ScratchMethod):
        model: Any = build_scratch(method, tokenizer, device=device, attention=attention, seed=seed)
        fingerprint = "scratch"
    else:
        assert recipe.model.name is not None, "the recipe refuses a missing model.name"
        folder = find_model(recipe.model.name, recipe.model.revision)
        fingerprint = check_model_folder(folder).fingerprint
        # Frozen weights live in the format of the computation; trained ones keep fp32 masters.
        dtype = torch.float32 if isinstance(method, FullMethod) else precision.dtype
        quantization = method if isinstance(method, QloraMethod) else None
        model = load_base(folder, dtype=dtype, device=device, attention=attention, quantization=quantization)
    if recipe.train.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
    if isinstance(method, LoraMethod):
        model = add_adapter(model, method, seed=seed)
    return model, fingerprint


def make_batches(
    store: TrainingRows,
    recipe: Recipe,
    order: RowOrder,
    *,
    device: torch.device,
    attention: str,
    tokenizer: PreTrainedTokenizerBase,
) -> BatchMaker:
    """How rows become tensors; on CUDA packs get one fixed shape, so that compiled layers see one shape."""
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    if not recipe.train.packing:
        is_fixed = recipe.train.padding == "fixed"
        fixed_tokens = max(recipe.data.max_length, store.longest) if is_fixed else 0
        return BatchMaker(store, device, attention, False, pad_id or 0, fixed_tokens=fixed_tokens)
    if attention != VARLEN:
        return BatchMaker(store, device, attention, True, pad_id or 0)
    longest = store.longest
    pack_tokens = fixed_pack_tokens(recipe, order, longest)
    # Of packs that are not made yet the fullest is not known: room is left, and one that needs more gets a longer table.
    most_rows = order.most_rows_in_pack() * (1 if order.can_count_steps else 2)
    return BatchMaker(
        store,
        device,
        attention,
        is_packed=True,
        pad_id=pad_id or 0,
        fixed_tokens=pack_tokens,
        fixed_segments=most_rows + pack_tokens // longest + 1,
        most_row_tokens=longest,
        may_grow=not order.can_count_steps,
    )


def make_validator(
    recipe: Recipe,
    data: DataReport,
    batches: BatchMaker,
    tokenizer: PreTrainedTokenizerBase,
    listener: Listener,
) -> Validator | None:
    """The validation rows, or None if there are none."""
    if data.validation is None or data.validation.rows_kept == 0:
        return None
    store = TokenStore.open(Path(data.store) / "validation")
    settings = recipe.train.validation
    pack_tokens = max(recipe.pack_tokens(), store.longest)
    longest = max(batches.most_row_tokens, store.longest)
    packs = pack_validation(store, most_rows=settings.most_rows, pack_tokens=pack_tokens)
    fixed: dict[str, Any] = {"fixed_tokens": 0}
    if batches.is_packed and batches.fixed_tokens:
        fixed = {
            "fixed_tokens": pack_tokens,
            "fixed_segments": max(batches.fixed_segments, max(map(len, packs)) + pack_tokens // longest + 1),
            "most_row_tokens": longest,
        }
    return Validator(
        batches=dataclasses.replace(batches, store=store, is_packed=True, **fixed),
        packs=packs,
        tokenizer=tokenizer,
        sample_rows=tuple(range(min(settings.sample_prompts, store.rows))),
        sample_new_tokens=settings.sample_new_tokens,
        stop_ids=stop_ids(tokenizer),
        listener=listener,
    )


def make_identity(
    recipe: Recipe,
    data: DataReport,
    fingerprint: str,
    parameters: dict[str, nn.Parameter],
    *,
    total_steps: int,
) -> dict[str, str]:
    """What must be the same for a resumed run to be the same run; a difference is refused by name.

    How long the run is may change only where no step's learning rate depends on it.
    """
    shapes = json.dumps({name: list(parameter.shape) for name, parameter in parameters.items()})
    schedule = recipe.train.schedule
    depends_on_length = schedule.kind != "constant" or schedule.warmup_fraction > 0
    identity = {
        "training tokens": data.train.fingerprint,
        "base": fingerprint,
        "trained tensors": hashlib.sha256(shapes.encode()).hexdigest(),
        "steps of the schedule": str(total_steps) if depends_on_length else "any",
    }
    if takes_windows(recipe):
        identity["order of rows"] = str(ORDER_VERSION)
    free = {
        "epochs",
        "most_steps",
        "log",
        "checkpoint",
        "validation",
        "threads",
        "compile",
        "cuda_graphs",
        "profile",
    }
    for section, settings in (("method", recipe.method), ("train", recipe.train)):
        for name, value in settings.model_dump(mode="json", exclude=free).items():
            identity[f"{section}.{name}"] = json.dumps(value, sort_keys=True)
    return identity
