"""Which model is evaluated: the tuned one of a run, its base, its merged model, or a folder that the person named.

Base and tuned are loaded alike, quantized if the run trained over a quantized base: they are compared, and whoever trained in 4 bits
has no room for more. The tokenizer is the run's own where there is one, so that both are asked the very same tokens.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from luthier.config.method import QloraMethod
from luthier.config.recipe import Recipe
from luthier.floor.errors import UsageError
from luthier.floor.files import sha256_of
from luthier.floor.rundir import RunDir
from luthier.knowledge.adapter_folder import is_adapter
from luthier.knowledge.model_config import text_config
from luthier.knowledge.model_folder import check_model_folder, find_model
from luthier.modelling.load import load_trained

# Where config.json does not say (models without a limit of their own).
UNBOUNDED_CONTEXT = 2**20


@dataclass(frozen=True)
class Subject:
    """A model to evaluate."""

    name: str
    """`tuned`, `base` or `merged`, or the name that the caller gave."""
    folder: Path
    base_folder: Path | None
    """Set for an adapter."""
    tokenizer_folder: Path
    quantization: QloraMethod | None

    def fingerprint(self) -> str:
        """Hash of what the model is: the adapter's files and the base, or the whole model."""
        parts = {"model": check_model_folder(self.base_folder or self.folder).fingerprint}
        if self.base_folder is not None:
            files = sorted(self.folder.glob("adapter_*"))
            parts |= {path.name: sha256_of(path) for path in files}
        if self.quantization is not None:
            bits, twice = self.quantization.bits, self.quantization.double_quantization
            parts["quantization"] = f"{bits} bits, constants {'too' if twice else 'not'}"
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def context_tokens(self) -> int:
        """How many tokens the model was told to look at."""
        config = text_config(self.config())
        found = config.get("max_position_embeddings") or config.get("n_positions") or UNBOUNDED_CONTEXT
        return int(found)

    def config(self) -> dict[str, Any]:
        """config.json of the model, or of the base below an adapter."""
        return check_model_folder(self.base_folder or self.folder).config

    def load(self, *, dtype: torch.dtype, device: torch.device, attention: str) -> PreTrainedModel:
        """The model, ready to answer."""
        model: PreTrainedModel = load_trained(
            self.folder,
            base_folder=self.base_folder,
            dtype=dtype,
            device=device,
            attention=attention,
            quantization=self.quantization,
        )
        return model


def find_subject(
    recipe: Recipe, run: RunDir, *, name: str | None = None, model_folder: Path | None = None
) -> Subject:
    """The model to evaluate; `name` is `tuned`, `base` or `merged`, by default what `evaluate.subject` says.

    Raises UsageError if the run is not finished or has none of the name, ModelError if the base is missing.
    """
    name = name or ("merged" if model_folder is not None else recipe.evaluate.subject)
    if model_folder is None:
        model_folder = _base_folder(recipe) if name == "base" else _folder_in_run(run, name)
    base_folder = _base_folder(recipe) if is_adapter(model_folder) else None
    is_as_trained = base_folder is not None or name == "base"
    return Subject(
        name=name,
        folder=model_folder,
        base_folder=base_folder,
        tokenizer_folder=_tokenizer_folder(run, model_folder, base_folder),
        quantization=recipe.method if isinstance(recipe.method, QloraMethod) and is_as_trained else None,
    )


def _folder_in_run(run: RunDir, name: str) -> Path:
    if not run.is_finished:
        raise UsageError(
            "run-unfinished",
            f"the run {run.name} is not trained to its end, so there is no model to evaluate yet",
            where=str(run.path),
            fix=f"Wait for it, or continue it: luthier train --resume {run.path}",
        )
    if name == "tuned":
        return run.model
    folder = run.stage(name if name != "merged" else "merge") / "model"
    if not folder.is_dir():
        raise UsageError(
            "run-unfinished",
            f"the run {run.name} has no {name} model yet",
            where=str(folder),
            fix=f"Make it first: luthier merge --run {run.path}"
            if name == "merged"
            else "Evaluate tuned, base or merged.",
        )
    return folder


def _base_folder(recipe: Recipe) -> Path:
    if recipe.model.name is None:
        raise UsageError(
            "usage",
            "a model trained from scratch has no base to evaluate",
            where="model.name",
            fix="Evaluate the trained model: evaluate.subject=tuned",
        )
    return find_model(recipe.model.name, recipe.model.revision)


def _tokenizer_folder(run: RunDir, model_folder: Path, base_folder: Path | None) -> Path:
    for folder in (run.model, model_folder):
        if (folder / "tokenizer_config.json").is_file() or (folder / "tokenizer.json").is_file():
            return folder
    return base_folder or model_folder
