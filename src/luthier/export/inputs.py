"""Everything a merge starts from, checked before a model is loaded: the run, its adapter, the base it was trained over.

What cannot be merged is refused here, in a second, with the reason: a run that still trains, a run without an adapter, another
base. The hash of the inputs tells a finished merge from one that must be made.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch

from luthier.config.method import LoraMethod, QloraMethod
from luthier.config.recipe import Recipe
from luthier.export.check_rows import hash_check_rows
from luthier.export.save import DTYPES
from luthier.floor.errors import ModelError, UsageError
from luthier.floor.files import sha256_of
from luthier.floor.rundir import RunDir
from luthier.knowledge.adapter_folder import check_adapter_folder
from luthier.knowledge.model_folder import ModelFacts, check_model_folder, find_model
from luthier.reports.data import DataReport
from luthier.reports.train import TrainReport


@dataclass(frozen=True)
class MergeInputs:
    """A finished run with an adapter, and its base."""

    run: RunDir
    recipe: Recipe
    method: LoraMethod
    train: TrainReport
    data: DataReport | None
    base_folder: Path
    base: ModelFacts
    dtype: str
    """The number format of the merged weights: `fp32`, `bf16` or `fp16`."""
    inputs_hash: str

    @property
    def quantization(self) -> QloraMethod | None:
        return self.method if isinstance(self.method, QloraMethod) else None

    @property
    def goes_into_other_weights(self) -> bool:
        """Whether the merged base is not the one the adapter was trained over."""
        return self.quantization is not None and self.recipe.merge.base == "original"

    @property
    def seen_dtype(self) -> torch.dtype:
        """The number format in which training held the base."""
        return DTYPES[self.train.precision]

    @property
    def must_be_exact(self) -> bool:
        """Whether logits must agree within the tolerance: nothing is rounded, and the base is the one that was seen."""
        return self.dtype == "fp32" and not self.goes_into_other_weights


def read_inputs(recipe: Recipe, run: RunDir) -> MergeInputs:
    """Read and check what a merge needs.

    Raises UsageError if the run is not finished or trained no adapter, ModelError if its adapter or base is missing or the
    base is another one.
    """
    train, data = _reports(run)
    method = _method(recipe, run, train)
    assert recipe.model.name is not None, "a recipe with an adapter names its base"
    base_folder = find_model(recipe.model.name, recipe.model.revision)
    base = check_model_folder(base_folder)
    if base.fingerprint != train.base_fingerprint:
        raise _other_base(recipe.model.name, train)
    dtype = recipe.merge.dtype if recipe.merge.dtype != "auto" else _own_dtype(base)
    return MergeInputs(
        run, recipe, method, train, data, base_folder, base, dtype, _hash_inputs(recipe, run, base, data)
    )


def _reports(run: RunDir) -> tuple[TrainReport, DataReport | None]:
    if not run.is_finished:
        raise UsageError(
            "run-unfinished",
            f"the run {run.name} is not trained to its end, so there is nothing to merge yet",
            where=str(run.path),
            fix=f"Wait for it, or continue it: luthier train --resume {run.path}",
        )
    train = TrainReport.read(run.report("train"))
    return train, DataReport.read(run.report("data")) if run.report("data").is_file() else None


def _method(recipe: Recipe, run: RunDir, train: TrainReport) -> LoraMethod:
    if train.method not in ("lora", "qlora"):
        raise UsageError(
            "merge-whole",
            f"the run {run.name} trained every weight (method {train.method}): {run.model} is already one whole model",
            where=str(run.path),
            fix=f"Use it as it is: {run.model}",
        )
    if not isinstance(recipe.method, LoraMethod) or recipe.method.kind != train.method:
        raise UsageError(
            "usage",
            f"the recipe says method.kind = {recipe.method.kind}, the run was trained with {train.method}",
            where=str(run.config_used),
            fix="Merge with the run's own recipe: leave method.kind out.",
        )
    check_adapter_folder(run.model)
    return recipe.method


def _own_dtype(base: ModelFacts) -> str:
    """The base's own number format; fp32 for one that Luthier does not write."""
    names = {str(dtype).removeprefix("torch."): name for name, dtype in DTYPES.items()}
    return names.get(str(base.dtype).removeprefix("torch."), "fp32")


def _hash_inputs(recipe: Recipe, run: RunDir, base: ModelFacts, data: DataReport | None) -> str:
    facts = {
        "adapter": {path.name: sha256_of(path) for path in sorted(run.model.iterdir()) if path.is_file()},
        "base": base.fingerprint,
        "merge": recipe.merge.model_dump(mode="json"),
        "rows": hash_check_rows(recipe, data),
        "evaluate": {
            "gate_metric": recipe.evaluate.gate_metric,
            "max_new_tokens": recipe.evaluate.max_new_tokens,
            "max_prompt_tokens": recipe.evaluate.max_prompt_tokens,
        },
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _other_base(name: str, train: TrainReport) -> ModelError:
    return ModelError(
        "adp-base",
        f"the adapter was trained over {train.base}, and {name} holds another model now",
        why="An adapter is a change to the very weights it was trained over; added to others it is noise. "
        f"Fingerprint in training: {train.base_fingerprint[:16]}.",
        fix=f"Name the base of the training: luthier merge model.name={train.base}",
    )
