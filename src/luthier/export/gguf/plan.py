"""What an export to GGUF will do: model, tokenizer, tools and room, judged before anything is loaded or written.

A file is named by its type, and by whether the columns of its matrices were weighed by importance.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from luthier.config.recipe import Recipe
from luthier.export.check_rows import hash_check_rows
from luthier.export.gguf.architecture import open_architecture
from luthier.export.gguf.container import load_gguf
from luthier.export.gguf.earlier import standing_files
from luthier.export.gguf.importance import Calibration, read_calibration
from luthier.export.gguf.vocabulary import read_vocabulary
from luthier.export.gguf.write import BYTES_BESIDE_TENSORS, Source, plain_bytes
from luthier.export.inputs import read_inputs
from luthier.export.stage import MODEL, finished_merge
from luthier.floor.errors import EnvironmentFault, UsageError
from luthier.floor.files import free_bytes, free_room
from luthier.floor.rundir import RunDir
from luthier.floor.units import format_bytes
from luthier.knowledge.gguf_types import GGUF_TYPES, TypeFacts
from luthier.knowledge.model_folder import ModelFacts, check_model_folder
from luthier.llamacpp import abi
from luthier.llamacpp.find import need_library
from luthier.reports.data import DataReport
from luthier.reports.gguf import GgufFile
from luthier.reports.train import TrainReport
from luthier.text.tokenizer import hash_tokenizer, load_tokenizer

STAGE = "export/gguf"
ADAPTERS = ("lora", "qlora")
WRITER = 3
"""Counts up when the same inputs make another file."""
WEIGHED = "-imat"
"""What the names of files bear that were made with an importance matrix, as those published on the hub do."""
SAID_BY_FILES = {"types", "most_kl", "imatrix", "calibration_rows", "calibration_seed"}
"""Settings that are judged file by file: another one makes no other file of those that are there."""


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
    calibration: Calibration | None = None
    """What columns are weighed by, if they are."""

    @property
    def folder(self) -> Path:
        return self.run.path / STAGE

    def weighs(self, type: TypeFacts) -> bool:
        """Whether a file of this type is made with the importance of columns."""
        return self.calibration is not None and type.weighs_columns

    def path(self, type: TypeFacts) -> Path:
        return self.folder / f"{self.source.name}-{type.name}{WEIGHED if self.weighs(type) else ''}.gguf"

    @property
    def own_names(self) -> list[str]:
        """Every name that an export gives in this folder."""
        names = [f"{self.source.name}-{type.name}" for type in GGUF_TYPES.values()]
        return [f"{name}{mark}.gguf" for name in names for mark in ("", WEIGHED)]

    @property
    def lossless(self) -> TypeFacts:
        """The type that holds the merged weights without rounding, from which the mixed types are made."""
        return GGUF_TYPES[{"bfloat16": "BF16", "float16": "F16"}.get(self.facts.dtype, "F32")]

    def is_made_by_llama_cpp(self, type: TypeFacts) -> bool:
        """Whether llama.cpp makes the file, from one that holds the weights without rounding."""
        return not type.is_plain or self.weighs(type)

    def bytes_of(self, type: TypeFacts) -> int:
        """How large a file becomes, about."""
        if type.is_plain:
            return plain_bytes(self.source, type)
        return int(self.facts.parameters * type.bits / 8) + BYTES_BESIDE_TENSORS

    @property
    def needed_bytes(self) -> int:
        """What all missing files take, and the one on the way to the mixed types."""
        way = self.bytes_of(self.lossless) if any(map(self.is_made_by_llama_cpp, self.missing)) else 0
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
    weighs = recipe.export.gguf.imatrix and any(GGUF_TYPES[type].weighs_columns for type in wanted)
    calibration = read_calibration(recipe, data) if weighs else None
    missing = tuple(
        GGUF_TYPES[type]
        for type in wanted
        if again or not any(_serves(file, type, recipe, calibration) for file in kept)
    )
    source = Source(architecture, vocabulary, name)
    plan = Plan(run, recipe, source, facts, tokenizer, data, library, kept, missing, inputs_hash, calibration)
    if missing and free_bytes(plan.folder) < plan.needed_bytes:
        raise EnvironmentFault(
            "env-disk",
            f"the export takes {format_bytes(plan.needed_bytes)}, and {free_room(plan.folder)} are free",
            where=str(plan.folder),
            fix="Make room, then repeat the command.",
        )
    return plan


def _serves(file: GgufFile, type: str, recipe: Recipe, calibration: Calibration | None) -> bool:
    """Whether a file that is there is the one that is asked for, and keeps its bound."""
    is_weighed = calibration is not None and GGUF_TYPES[type].weighs_columns
    as_asked = (
        calibration.explains(file.importance) if calibration and is_weighed else file.importance is None
    )
    return file.type == type and as_asked and file.mean_kl <= allowed_kl(recipe, type)


def allowed_kl(recipe: Recipe, type: str) -> float:
    """The largest mean KL divergence at which a file of `type` is kept."""
    return recipe.export.gguf.most_kl or GGUF_TYPES[type].most_kl


def _hash_inputs(
    recipe: Recipe, facts: ModelFacts, tokenizer: PreTrainedTokenizerBase, data: DataReport | None
) -> str:
    settings = recipe.export.gguf.model_dump(mode="json", exclude=SAID_BY_FILES)
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
