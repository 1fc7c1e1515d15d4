"""Everything that a publication and its card are made from: the reports of the run's stages and the folder that goes up.

Reads files only, those of the run. What a stage did not leave is None, and the card says so instead of guessing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from luthier.config.method import LoraMethod
from luthier.config.recipe import Recipe
from luthier.floor.errors import UsageError
from luthier.floor.rundir import RunDir
from luthier.knowledge.adapter_folder import check_adapter_folder
from luthier.knowledge.model_folder import EMBEDDED, HUB_ID, check_model_folder
from luthier.reports.base import Report
from luthier.reports.data import DataReport
from luthier.reports.evaluate import CompareReport, EvaluateReport
from luthier.reports.gguf import GgufReport
from luthier.reports.merge import MergeReport
from luthier.reports.ollama import OllamaReport
from luthier.reports.publish import Kind
from luthier.reports.train import TrainReport

GGUF = "export/gguf"
CACHED_PREFIX = "models--"
R = TypeVar("R", bound=Report)


@dataclass(frozen=True)
class Facts:
    """A finished run, and what of it is to be published."""

    run: RunDir
    recipe: Recipe
    what: Kind
    folder: Path
    """Where the files lie that go up."""
    train: TrainReport
    data: DataReport | None
    tuned: EvaluateReport | None
    base: EvaluateReport | None
    compare: CompareReport | None
    merge: MergeReport | None
    gguf: GgufReport | None
    """Read only if the GGUF files are what goes up."""
    ollama: OllamaReport | None
    """How Ollama asks them; None if that was not proven, or of other files than these."""
    base_id: str | None
    """The base on the hub; None if the run began from nothing, or the base is known by a folder only."""

    @property
    def is_whole(self) -> bool:
        """Whether the run trained every weight, so that its model is whole without a merge."""
        return self.train.method in ("full", "scratch")

    @property
    def has_base(self) -> bool:
        """Whether there is a base at all: a model from nothing has none."""
        return self.train.method != "scratch"

    @property
    def is_embedded(self) -> bool:
        """Whether the base is the one that ships with Luthier, which is on no hub."""
        return self.base_id is None and self.recipe.model.name == EMBEDDED

    @property
    def template(self) -> str:
        """`guide`, `chat` or `guide_chat`: how the model is asked."""
        if self.data is not None:
            return self.data.template
        return "guide" if self.recipe.data.template == "auto" else self.recipe.data.template

    @property
    def lora(self) -> LoraMethod | None:
        return self.recipe.method if isinstance(self.recipe.method, LoraMethod) else None


def read_facts(recipe: Recipe, run: RunDir) -> Facts:
    """Read the run and judge the folder that goes up.

    Raises UsageError if the run is not finished, or the stage that makes what is asked for was not run; ModelError if the
    folder cannot be used as it is.
    """
    if not run.is_finished:
        raise UsageError(
            "run-unfinished",
            f"the run {run.name} is not trained to its end, so there is nothing to publish yet",
            where=str(run.path),
            fix=f"Wait for it, or continue it: luthier train --resume {run.path}",
        )
    train = TrainReport.read(run.report("train"))
    what = _kind(recipe, run, train)
    merge = read_if_there(MergeReport, run.report("merge"))
    folder = _folder(what, run, train, merge)
    gguf = GgufReport.read(folder / "report.json") if what == "gguf" else None
    return Facts(
        run=run,
        recipe=recipe,
        what=what,
        folder=folder,
        train=train,
        data=read_if_there(DataReport, run.report("data")),
        tuned=read_if_there(EvaluateReport, run.stage("evaluate") / "tuned" / "report.json"),
        base=read_if_there(EvaluateReport, run.stage("evaluate") / "base" / "report.json"),
        compare=read_if_there(CompareReport, run.report("compare")),
        merge=merge,
        gguf=gguf,
        ollama=_ollama(run, gguf),
        base_id=_base_id(recipe, train),
    )


def _ollama(run: RunDir, gguf: GgufReport | None) -> OllamaReport | None:
    """The proof of Ollama's template, if it is of one of the files; all types of a run are asked alike."""
    found = read_if_there(OllamaReport, run.report("export/ollama")) if gguf is not None else None
    proven = {file.sha256 for file in gguf.files} if gguf is not None else set()
    return found if found is not None and found.gguf_sha256 in proven else None


def read_if_there(kind: type[R], path: Path) -> R | None:
    """A stage's report; None if the stage was not run."""
    return kind.read(path) if path.is_file() else None


def _kind(recipe: Recipe, run: RunDir, train: TrainReport) -> Kind:
    is_adapter = train.method in ("lora", "qlora")
    wanted = recipe.publish.what
    if wanted == "auto":
        return "adapter" if is_adapter else "merged"
    if wanted == "adapter" and not is_adapter:
        raise UsageError(
            "usage",
            f"the run {run.name} trained every weight (method {train.method}): it has no adapter",
            where="publish.what = adapter",
            fix="Publish its model: luthier publish --what merged",
        )
    return wanted


def _folder(what: Kind, run: RunDir, train: TrainReport, merge: MergeReport | None) -> Path:
    if what == "adapter":
        check_adapter_folder(run.model)
        return run.model
    if what == "gguf":
        return _gguf_folder(run)
    if train.method in ("full", "scratch"):
        check_model_folder(run.model)
        return run.model
    folder = run.stage("merge") / "model"
    if merge is None or not folder.is_dir():
        raise UsageError(
            "run-unfinished",
            f"the run {run.name} has no merged model",
            where=str(run.stage("merge")),
            why="Only a merge that was proven to answer as the adapter model did is published.",
            fix=f"Merge first: luthier merge --run {run.path}",
        )
    check_model_folder(folder)
    return folder


def _gguf_folder(run: RunDir) -> Path:
    if not run.report(GGUF).is_file():
        raise UsageError(
            "run-unfinished",
            f"the run {run.name} has no GGUF files that were proven",
            where=str(run.stage(GGUF)),
            why="Only a file of which llama.cpp answers as the merged model does is published.",
            fix=f"Make them first: luthier export gguf --run {run.path}",
        )
    return run.stage(GGUF)


def _base_id(recipe: Recipe, train: TrainReport) -> str | None:
    """As the author says; else the recipe's own name for it, or the one that the hub's cache keeps it under."""
    if recipe.publish.base_model:
        return recipe.publish.base_model
    name = recipe.model.name or train.base
    if not Path(name).exists() and HUB_ID.fullmatch(name):
        return name
    return _cached_id(Path(name))


def _cached_id(folder: Path) -> str | None:
    """`Qwen/Qwen2.5-0.5B` of <cache>/models--Qwen--Qwen2.5-0.5B/snapshots/<commit>; None for any other folder."""
    for part in folder.parts:
        if part.startswith(CACHED_PREFIX):
            owner, _, name = part.removeprefix(CACHED_PREFIX).partition("--")
            return f"{owner}/{name}" if name else None
    return None


def sources_of(facts: Facts) -> Sequence[tuple[str, Any]]:
    """The sources of the rows, by the name that may be shown, and their counts (None for a run of an older Luthier)."""
    if facts.data is None:
        return ()
    if not facts.data.sources:
        return [(shown_name(facts.recipe.data.path), None)]
    return [(shown_name(name), counts) for name, counts in facts.data.sources.items()]


def shown_name(path: str) -> str:
    """A path as strangers may see it: as it is if it is a name below the working folder, else its last part."""
    plain = Path(path)
    if plain.is_absolute() or path.startswith("~") or ".." in plain.parts:
        return plain.name or "data"
    return plain.as_posix()
