"""The run's side of a comparison: which of its models is right, and what that model says of the held-out rows."""

from dataclasses import dataclass
from pathlib import Path

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from luthier.config.method import QloraMethod
from luthier.config.recipe import Recipe
from luthier.export.gguf.truth import Truth, ask
from luthier.export.logits import ATTENTION, ComparedRow, KeptLogits, keep_logits
from luthier.export.parity.rows import RowSet, read_row_set
from luthier.export.room import choose_place
from luthier.export.save import DTYPES
from luthier.export.stage import MODEL
from luthier.floor.errors import UsageError
from luthier.floor.log import Listener
from luthier.floor.rundir import RunDir
from luthier.floor.stop import StopFlag
from luthier.knowledge.adapter_folder import is_adapter
from luthier.knowledge.model_folder import ModelFacts, check_model_folder, find_model
from luthier.modelling.device import choose_device
from luthier.modelling.load import load_trained
from luthier.reports.data import DataReport
from luthier.text.guide_chat import ANSWER_END
from luthier.text.tokenizer import load_tokenizer

STORED = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


@dataclass(frozen=True)
class ModelPlace:
    """A model on the disk: whole, or an adapter with its base."""

    folder: Path
    base_folder: Path | None
    quantization: QloraMethod | None

    @property
    def facts(self) -> ModelFacts:
        """Of the whole model, or of the base."""
        return check_model_folder(self.base_folder or self.folder)

    def load(self, recipe: Recipe) -> PreTrainedModel | PeftModel:
        """The model in the most exact format that there is room for. Raises EnvironmentFault env-memory, ModelError."""
        facts = self.facts
        place = choose_place(
            facts.parameters,
            device=choose_device(recipe.model.device),
            stored=STORED.get(str(facts.dtype).removeprefix("torch."), "fp32"),
            must_be_exact=False,
        )
        found: PreTrainedModel | PeftModel = load_trained(
            self.folder,
            base_folder=self.base_folder,
            dtype=DTYPES[place.dtype],
            device=place.device,
            attention=ATTENTION,
            quantization=self.quantization,
        )
        return found


@dataclass(frozen=True)
class Reference:
    """Which model of the run is right."""

    name: str
    """`merged`, `tuned` or `whole`."""
    place: ModelPlace
    tokenizer: PreTrainedTokenizerBase


def find_reference(recipe: Recipe, run: RunDir, *, subject: Path | None = None) -> Reference:
    """The model by `verify.reference`; the merged folder itself is held against the trained model.

    Raises UsageError if the run is not trained to its end, or has no merged model and the recipe asks for it.
    """
    if not run.is_finished:
        raise UsageError(
            "run-unfinished",
            f"the run {run.name} is not trained to its end, so there is no model to compare with",
            where=str(run.path),
            fix=f"Wait for it, or continue it: luthier train --resume {run.path}",
        )
    tokenizer = load_tokenizer(run.model)
    if not is_adapter(run.model):
        return Reference("whole", ModelPlace(run.model, None, None), tokenizer)
    merged = run.stage("merge") / MODEL
    is_merged = _is_merged(run)
    wanted = recipe.verify.reference
    if wanted == "merged" and not is_merged:
        raise UsageError(
            "run-unfinished",
            f"the run {run.name} has no merged model of its training yet",
            where="verify.reference",
            fix=f"Merge it first: luthier merge --run {run.path}; or compare with the adapter over its base: "
            "verify.reference=tuned",
        )
    is_subject = subject is not None and subject.resolve() == merged.resolve()
    if is_merged and wanted != "tuned" and not is_subject:
        return Reference("merged", ModelPlace(merged, None, None), tokenizer)
    return Reference("tuned", trained_place(recipe, run.model), tokenizer)


def _is_merged(run: RunDir) -> bool:
    """Whether there is a merged model of the training as it ended; on which rows it was proven makes no other model of it."""
    report, model = run.report("merge"), run.stage("merge") / MODEL / "config.json"
    if not report.is_file() or not model.is_file():
        return False
    return report.stat().st_mtime_ns >= run.report("train").stat().st_mtime_ns


def trained_place(recipe: Recipe, adapter: Path) -> ModelPlace:
    """An adapter over the recipe's base, which is quantized if the run trained over a quantized one."""
    assert recipe.model.name is not None, "a recipe with an adapter names its base"
    base = find_model(recipe.model.name, recipe.model.revision)
    return ModelPlace(adapter, base, recipe.method if isinstance(recipe.method, QloraMethod) else None)


@dataclass(frozen=True)
class Case:
    """All that any subject is compared with."""

    recipe: Recipe
    reference: Reference
    rows: RowSet
    truth: Truth
    answers: KeptLogits | None
    """The logits after every token of the answers, where they were asked for."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return self.reference.tokenizer

    @property
    def expected(self) -> list[str]:
        """The right answers to the questions that are asked."""
        return [row.expected for row in self.rows.checked.questions[: len(self.truth.prompts)]]

    def spoken(self, ids: tuple[int, ...]) -> str:
        """An answer as text, without what ends it."""
        text = str(self.tokenizer.decode(list(ids), skip_special_tokens=True))
        return text.partition(ANSWER_END)[0] if self.rows.template == "guide_chat" else text


def ask_reference(
    recipe: Recipe,
    run: RunDir,
    reference: Reference,
    *,
    with_answers: bool,
    work: Path,
    listener: Listener,
    stop: StopFlag | None,
) -> Case:
    """Load the reference, keep its logits in `work` and let it answer; `with_answers` keeps those of its answers, too."""
    data = DataReport.read(run.report("data")) if run.report("data").is_file() else None
    rows = read_row_set(recipe, data, reference.tokenizer)
    listener.say(f"Asking the {reference.name} model of {run.name}")
    model = reference.place.load(recipe)
    truth = ask(
        model,
        recipe,
        rows.checked,
        reference.tokenizer,
        whose=f"the {reference.name} model",
        answers=recipe.verify.answers,
        work=work,
        listener=listener,
        stop=stop,
    )
    kept = None
    if with_answers and truth.prompts:
        kept = keep_logits(
            model,
            [
                _answer_row(prompt, answer)
                for prompt, answer in zip(truth.prompts, truth.answers, strict=True)
            ],
            work / "answers.f32",
            label="logits of its answers",
            listener=listener,
            stop=stop,
        )
    return Case(recipe, reference, rows, truth, kept)


def _answer_row(prompt: tuple[int, ...], answer: tuple[int, ...]) -> ComparedRow:
    """Prompt and answer, compared from the last token of the prompt on."""
    ids = (*prompt, *answer)
    return ComparedRow(ids, tuple(range(len(prompt) - 1, len(ids))))
