"""What an export of a run's adapter to GGUF will do: run, adapter, base, tools and room, judged before a model is loaded.

The base is the model that the adapter was trained over: a GGUF file of it that the user names, or one to be written in F16.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from luthier.config.recipe import Recipe
from luthier.export.check_rows import hash_check_rows
from luthier.export.gguf.adapter_tensors import AdapterForm, plan_adapter
from luthier.export.gguf.architecture import Architecture, open_architecture
from luthier.export.gguf.container import load_gguf, tensor_bytes
from luthier.export.gguf.vocabulary import read_vocabulary
from luthier.export.gguf.write import Source, plain_bytes
from luthier.export.inputs import MergeInputs, read_inputs
from luthier.floor.errors import EnvironmentFault, UsageError
from luthier.floor.files import free_bytes, free_room, sha256_of
from luthier.floor.rundir import RunDir
from luthier.floor.units import format_bytes
from luthier.knowledge.adapter_folder import check_adapter_folder
from luthier.knowledge.gguf_types import GGUF_TYPES, TypeFacts
from luthier.llamacpp import abi
from luthier.llamacpp.find import need_library
from luthier.reports.gguf_adapter import GgufAdapterReport
from luthier.text.tokenizer import hash_tokenizer, load_tokenizer

STAGE = "export/gguf-adapter"
WRITER = 1
"""Counts up when the same inputs make another file."""
BASE_TYPE = GGUF_TYPES["F16"]


@dataclass(frozen=True)
class AdapterPlan:
    """What an export of an adapter will do, judged before anything is loaded or written."""

    inputs: MergeInputs
    tokenizer: PreTrainedTokenizerBase
    architecture: Architecture
    form: AdapterForm
    source: Source | None
    """The base to be written; None if the user named a file of it."""
    base: Path
    base_type: TypeFacts | None
    """None for a type of which Luthier knows no bound."""
    library: Path
    inputs_hash: str
    there: GgufAdapterReport | None
    """The report of the same inputs, if its files are there."""

    @property
    def folder(self) -> Path:
        return self.inputs.run.path / STAGE

    @property
    def base_name(self) -> str:
        return Path(self.inputs.recipe.model.name or "model").name

    @property
    def adapter(self) -> Path:
        """Named as llama.cpp's naming convention has it: base, fine-tune, encoding, kind."""
        return self.folder / f"{self.base_name}-{self.inputs.run.name}-F32-LoRA.gguf"

    @property
    def needed_bytes(self) -> int:
        """What both files take, at most."""
        own = sum(tensor_bytes(tensor.shape, tensor.type) for tensor in self.form.tensors) + 2**20
        return own + (plain_bytes(self.source, BASE_TYPE) if self.source else 0)

    @property
    def allowed_kl(self) -> float:
        """The bound of the base's type, unless the recipe has its own."""
        own = self.inputs.recipe.export.gguf.most_kl
        assert own is not None or self.base_type is not None, "plan_adapter_export asks for a bound"
        return own or (self.base_type.most_kl if self.base_type else 0.0)


def plan_adapter_export(
    recipe: Recipe, run: RunDir, *, base: Path | None = None, again: bool = False
) -> AdapterPlan:
    """Judge run, adapter, base, tools and disk.

    Raises UsageError if there is no adapter, or one over a quantized base that no file holds; ModelError gguf-adapter or gguf-family
    if llama.cpp has no form of it; EnvironmentFault if gguf, llama.cpp or room on the disk is missing.
    """
    inputs = read_inputs(recipe, run)
    _refuse_quantized(inputs)
    load_gguf()
    library = need_library().path
    architecture = open_architecture(inputs.base_folder, inputs.base)
    form = plan_adapter(check_adapter_folder(run.model), architecture)
    tokenizer = load_tokenizer(run.model)
    folder, name = run.path / STAGE, Path(recipe.model.name or "model").name
    source, base_type = None, None
    if base is None:
        vocabulary = read_vocabulary(
            tokenizer, vocabulary_tokens=architecture.vocabulary_tokens, where=str(run.model)
        )
        source, base_type = Source(architecture, vocabulary, name), BASE_TYPE
    elif not base.is_file():
        raise UsageError(
            "usage",
            f"there is no file {base}",
            where="--base",
            fix="Name a GGUF file of the base, or leave --base out.",
        )
    place = base or folder / f"{name}-{BASE_TYPE.name}.gguf"
    inputs_hash = _hash_inputs(inputs, tokenizer, base)
    there = None if again else _standing(folder, inputs_hash)
    plan = AdapterPlan(
        inputs, tokenizer, architecture, form, source, place, base_type, library, inputs_hash, there
    )
    if there is None and free_bytes(plan.folder) < plan.needed_bytes:
        raise EnvironmentFault(
            "env-disk",
            f"the export takes {format_bytes(plan.needed_bytes)}, and {free_room(plan.folder)} are free",
            where=str(plan.folder),
            fix="Make room, or name a GGUF file of the base that is there already: --base FILE",
        )
    return plan


def _refuse_quantized(inputs: MergeInputs) -> None:
    if inputs.quantization is not None and not inputs.goes_into_other_weights:
        raise UsageError(
            "usage",
            f"the adapter was trained over a base in {inputs.quantization.bits} bits, which no GGUF file holds",
            where=str(inputs.run.path),
            why="Over the original weights it answers a little otherwise than the model that was trained and evaluated.",
            fix="Take the original weights and see by how much: luthier export gguf --adapter merge.base=original; or export "
            "the merged model: luthier export gguf",
        )


def _standing(folder: Path, inputs_hash: str) -> GgufAdapterReport | None:
    """The report of the same inputs whose files are still there, whole."""
    report = earlier_report(folder)
    if report is None or report.inputs_hash != inputs_hash:
        return None
    # The run may lie elsewhere by now; a base that the user named lies where it was.
    adapter, base = folder / Path(report.adapter).name, Path(report.base)
    base = base if report.base_is_named else folder / base.name
    sizes = {adapter: report.adapter_bytes, base: report.base_bytes}
    if not all(path.is_file() and path.stat().st_size == size for path, size in sizes.items()):
        return None
    return report.model_copy(update={"folder": str(folder), "adapter": str(adapter), "base": str(base)})


def earlier_report(folder: Path) -> GgufAdapterReport | None:
    """The report of an earlier export, if there is one."""
    path = folder / "report.json"
    return GgufAdapterReport.read(path) if path.is_file() else None


def _hash_inputs(inputs: MergeInputs, tokenizer: PreTrainedTokenizerBase, base: Path | None) -> str:
    named = None
    if base is not None:
        facts = base.stat()
        named = [str(base.resolve()), facts.st_size, facts.st_mtime_ns]
    adapter = {path.name: sha256_of(path) for path in sorted(inputs.run.model.iterdir()) if path.is_file()}
    settings = inputs.recipe.export.gguf.model_dump(
        mode="json", include={"most_kl", "answers", "proof_texts"}
    )
    parts = (
        WRITER,
        abi.VERSION,
        adapter,
        inputs.base.fingerprint,
        named,
        hash_tokenizer(tokenizer),
        hash_check_rows(inputs.recipe, inputs.data),
        settings,
        inputs.recipe.merge.base,
        inputs.recipe.evaluate.max_prompt_tokens,
    )
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
