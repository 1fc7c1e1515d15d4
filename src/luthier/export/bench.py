"""What the steps of one merge share, and the models they load: the adapter over the base it saw, or over the original one."""

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from luthier.export.check_rows import CheckRows, read_check_rows
from luthier.export.inputs import MergeInputs
from luthier.export.logits import (
    ATTENTION,
    REPEAT,
    STOPPED,
    ComparedRow,
    KeptLogits,
    choose_positions,
    keep_logits,
)
from luthier.export.room import Place, choose_place
from luthier.export.save import DTYPES, check_room
from luthier.floor.log import Listener
from luthier.floor.stop import StopFlag
from luthier.measure.metrics import score_rows
from luthier.modelling.adapters import attach_adapter
from luthier.modelling.dequantize import dequantize
from luthier.modelling.device import choose_device
from luthier.modelling.generate import generate_answers
from luthier.modelling.load import load_base, load_trained
from luthier.text.tokenizer import load_tokenizer


@dataclass(frozen=True)
class Bench:
    """One merge under way."""

    inputs: MergeInputs
    work: Path
    """A temporary folder that is removed at the end."""
    place: Place
    tokenizer: PreTrainedTokenizerBase
    rows: CheckRows
    listener: Listener
    stop: StopFlag | None

    @property
    def questions(self) -> tuple[tuple[int, ...], ...]:
        """The prompts of the held-out rows, long ones without their beginning, as an evaluation asks them."""
        most = self.inputs.recipe.evaluate.max_prompt_tokens
        return tuple(row.prompt[-most:] for row in self.rows.questions)


def set_up(inputs: MergeInputs, work: Path, listener: Listener, stop: StopFlag | None) -> Bench:
    """Choose where to compute, see that there is room, read tokenizer and rows.

    Raises EnvironmentFault if memory or disk is short, DataError if there is no held-out row.
    """
    parameters = inputs.base.parameters
    place = choose_place(
        parameters,
        device=choose_device(inputs.recipe.model.device),
        stored=inputs.dtype,
        must_be_exact=inputs.must_be_exact,
    )
    check_room(work, weight_bytes=parameters * DTYPES[inputs.dtype].itemsize)
    if not place.is_exact:
        listener.warn(f"Memory is short for fp32: the merge is checked in {place.dtype}.")
    tokenizer = load_tokenizer(inputs.run.model)
    rows = read_check_rows(inputs.recipe, inputs.data, tokenizer)
    return Bench(inputs, work, place, tokenizer, rows, listener, stop)


def load_seen(bench: Bench) -> PeftModel:
    """The adapter over the base that it saw in training; a quantized base is written out in plain numbers."""
    inputs = bench.inputs
    if inputs.quantization is None:
        return load_over_original(bench)
    base = load_base(
        inputs.base_folder,
        dtype=inputs.seen_dtype,
        device=bench.place.device,
        attention=ATTENTION,
        quantization=inputs.quantization,
    )
    return _adapted(dequantize(base, dtype=DTYPES[bench.place.dtype]), inputs)


def load_over_original(bench: Bench) -> PeftModel:
    """The adapter over the base as its files hold it."""
    inputs = bench.inputs
    base = load_base(
        inputs.base_folder,
        dtype=DTYPES[bench.place.dtype],
        device=bench.place.device,
        attention=ATTENTION,
    )
    return _adapted(base, inputs)


def _adapted(base: PreTrainedModel, inputs: MergeInputs) -> PeftModel:
    """The run's adapter over `base`, in fp32 as it was trained, whatever the base is kept in."""
    return attach_adapter(base, inputs.run.model, dtype=torch.float32)


def load_quantized(bench: Bench) -> nn.Module:
    """The adapter over the quantized base, as it was trained and evaluated."""
    inputs = bench.inputs
    model: nn.Module = load_trained(
        inputs.run.model,
        base_folder=inputs.base_folder,
        dtype=inputs.seen_dtype,
        device=bench.place.device,
        attention=ATTENTION,
        quantization=inputs.quantization,
    )
    return model


def keep(bench: Bench, model: nn.Module, name: str, *, label: str) -> KeptLogits:
    """Keep the model's logits on the held-out rows in the file `name` of the work folder."""
    return keep_logits(
        model,
        compared_rows(bench, model),
        bench.work / name,
        label=label,
        listener=bench.listener,
        stop=bench.stop,
    )


def compared_rows(bench: Bench, model: nn.Module) -> list[ComparedRow]:
    wrapped: Any = model  # PEFT passes on what its base knows
    vocabulary = int(wrapped.get_output_embeddings().weight.shape[0])
    return choose_positions([row.ids for row in bench.rows.rows], vocabulary=vocabulary)


def answer(bench: Bench, model: nn.Module) -> list[list[int]]:
    """The model's answers to the questions among the held-out rows."""
    evaluate = bench.inputs.recipe.evaluate
    answers = generate_answers(
        model,
        bench.questions,
        stop_ids=bench.rows.stop_ids,
        pad_id=pad_id(bench),
        max_new_tokens=evaluate.max_new_tokens,
        batch_tokens=evaluate.batch_tokens,
        listener=bench.listener,
        stop=bench.stop,
        label="answers of the adapter model",
    )
    if bench.stop is not None:
        bench.stop.check(STOPPED, fix=REPEAT)
    return answers


def pad_id(bench: Bench) -> int:
    """What fills a batch of prompts; never looked at."""
    return bench.tokenizer.pad_token_id if bench.tokenizer.pad_token_id is not None else 0


def score(bench: Bench, answers: Sequence[Sequence[int]]) -> dict[str, float]:
    """Every metric of these answers to the questions."""
    texts = [str(bench.tokenizer.decode(list(ids), skip_special_tokens=True)) for ids in answers]
    return score_rows([row.expected for row in bench.rows.questions], texts).values()


def release(device: torch.device) -> None:
    """Give back the memory of a model that nothing names any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
