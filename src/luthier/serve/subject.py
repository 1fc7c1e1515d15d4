"""Which models are served: a run's, a folder's, a GGUF file's; with an adapter its base, and more adapters over it.

Nothing is loaded here and nothing of a model is trusted: that is the engine's process.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from luthier.config.compose import load_recipe
from luthier.config.method import QloraMethod
from luthier.config.recipe import Recipe
from luthier.config.serve import ServeConfig
from luthier.floor.errors import UsageError
from luthier.floor.lookup import did_you_mean
from luthier.floor.rundir import RUNS, RunDir, list_runs, open_run
from luthier.knowledge.adapter_folder import is_adapter
from luthier.knowledge.model_folder import EMBEDDED, find_model
from luthier.reports.data import DataReport

BASE = "base"
GGUF = ".gguf"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class ServedModel:
    """One name that clients may ask for."""

    name: str
    folder: Path
    """The model, the adapter, or the GGUF file."""
    base_folder: Path | None
    """Set for an adapter."""
    tokenizer_folder: Path
    template: str | None
    """The form of conversations that a run was trained on; None leaves it to the tokenizer."""


@dataclass(frozen=True)
class Served:
    """All that one server serves; the models share the weights of one base."""

    models: tuple[ServedModel, ...]
    quantization: QloraMethod | None = None

    @property
    def gguf(self) -> Path | None:
        """The file, if it is one."""
        folder = self.models[0].folder
        return folder if folder.suffix == GGUF else None

    def for_own(self, config: ServeConfig, *, device: str) -> dict[str, Any]:
        """The specification that `own_worker.py` reads."""
        models = [
            {key: str(value) if isinstance(value, Path) else value for key, value in asdict(model).items()}
            for model in self.models
        ]
        return {
            "models": models,
            "quantization": self.quantization.model_dump(mode="json") if self.quantization else None,
            "device": device,
            "threads": config.threads,
            "context_tokens": config.context_tokens,
            "most_rows": config.queue.most_running,
        }


def find_served(
    target: str, config: ServeConfig, *, adapters: Sequence[str] = (), base: str | None = None
) -> Served:
    """What a person named: a run, a model or adapter folder, a GGUF file, `embedded`, or a hub id.

    `adapters` are further ones over the same base, `NAME=RUN|FOLDER`; `base` is the base of an adapter outside a run.
    Raises UsageError, ModelError.
    """
    served = _find(target, config, base)
    if config.name is not None:
        first, *rest = served.models
        served = replace(served, models=(replace(first, name=config.name), *rest))
    for word in adapters:
        served = replace(served, models=(*served.models, _further(word, served, config)))
    _refuse_twins([model.name for model in served.models])
    return served


def _find(target: str, config: ServeConfig, base: str | None) -> Served:
    path = Path(target).expanduser()
    if path.suffix == GGUF and path.is_file():
        return Served((_of_file(path, config),))
    if (path / "config_used.yaml").is_file() or _is_run(target):
        return _of_run(open_run(target), config)
    if is_adapter(path):
        return _of_adapter(path, config, base)
    if (path / "config.json").is_file() or target == EMBEDDED or (not path.exists() and "/" in target):
        folder = find_model(target)
        return Served((_model(_as_name(folder.resolve().name), folder, None, folder, _chosen(config, None)),))
    raise UsageError(
        "usage",
        f"{target!r} is no run, no model folder and no GGUF file{did_you_mean(target, [run.name for run in list_runs()])}",
        where="the command line",
        fix="See the runs: luthier runs; or serve the embedded model: luthier serve embedded",
    )


def _of_file(path: Path, config: ServeConfig) -> ServedModel:
    """A GGUF file, with the tokenizer of the run that exported it, or with one that lies beside it."""
    run = next(
        (RunDir(each) for each in path.resolve().parents if (each / "config_used.yaml").is_file()), None
    )
    name = _as_name(path.stem)
    if run is None:
        return ServedModel(name, path, None, path.parent, _chosen(config, None))
    return ServedModel(name, path, None, run.model, _chosen(config, _template_of(run)))


def _is_run(target: str) -> bool:
    return (RUNS / target / "config_used.yaml").is_file()


def _of_run(run: RunDir, config: ServeConfig) -> Served:
    recipe = load_recipe(run.config_used).recipe
    template = _chosen(config, _template_of(run))
    name = _as_name(run.path.resolve().name)
    if config.subject == "base":
        return Served((_base_model(name, recipe, run.model, template),), _quantization(recipe))
    folder = _trained(run, config.subject)
    if not is_adapter(folder):
        return Served((_model(name, folder, None, folder, template),))
    base = _base_model(BASE, recipe, run.model, template)
    tuned = _model(name, folder, base.folder, run.model, template)
    return Served((tuned, base), _quantization(recipe))


def _of_adapter(folder: Path, config: ServeConfig, base: str | None) -> Served:
    run = RunDir(folder.resolve().parent)
    if base is None and run.config_used.is_file():
        return _of_run(run, config)
    if base is None:
        raise UsageError(
            "usage",
            f"{folder} holds an adapter, and nothing says over which base",
            where="the command line",
            why="The name that an adapter file gives its base is never opened: it came with the file.",
            fix=f"Name the base: luthier serve {folder} --base FOLDER",
        )
    base_folder = find_model(base)
    tokenizer = folder if (folder / "tokenizer_config.json").is_file() else base_folder
    tuned = _model(_as_name(folder.resolve().name), folder, base_folder, tokenizer, _chosen(config, None))
    return Served((tuned, _model(BASE, base_folder, None, tokenizer, tuned.template)))


def _further(word: str, served: Served, config: ServeConfig) -> ServedModel:
    name, _, target = word.partition("=")
    if not NAME.fullmatch(name) or not target:
        raise UsageError(
            "usage",
            f"--adapter {word} is not of the form NAME=RUN or NAME=FOLDER",
            where="--adapter",
            fix="For example: --adapter poems=outputs/runs/2026-11-25_10-00-00",
        )
    first = served.models[0]
    base_folder = first.base_folder or first.folder
    found = _find(target, config.model_copy(update={"subject": "tuned"}), str(base_folder)).models[0]
    if found.base_folder is None or served.gguf is not None:
        raise UsageError(
            "usage",
            f"--adapter {word}: {'a GGUF file takes no adapters here' if served.gguf else f'{target} holds no adapter'}",
            where="--adapter",
            fix="Serve a whole model by a server of its own.",
        )
    # Whether it was trained over this very base is judged where it is loaded, by fingerprint.
    return replace(found, name=name, base_folder=base_folder)


def _trained(run: RunDir, subject: str) -> Path:
    folder = run.model if subject == "tuned" else run.stage("merge") / "model"
    if run.is_finished and folder.is_dir():
        return folder
    fix = f"Wait for it, or continue it: luthier train --resume {run.path}"
    raise UsageError(
        "run-unfinished",
        f"the run {run.name} has no {subject} model yet",
        where=str(folder),
        fix=f"Make it first: luthier merge --run {run.path}" if run.is_finished else fix,
    )


def _base_model(name: str, recipe: Recipe, tokenizer_folder: Path, template: str | None) -> ServedModel:
    if recipe.model.name is None:
        raise UsageError(
            "usage",
            "a model trained from scratch has no base to serve",
            where="serve.subject",
            fix="Serve the trained model: serve.subject=tuned",
        )
    folder = find_model(recipe.model.name, recipe.model.revision)
    return _model(name, folder, None, tokenizer_folder, template)


def _model(
    name: str, folder: Path, base_folder: Path | None, tokenizer_folder: Path, template: str | None
) -> ServedModel:
    has_tokenizer = any(
        (tokenizer_folder / each).is_file() for each in ("tokenizer_config.json", "tokenizer.json")
    )
    return ServedModel(
        name,
        folder,
        base_folder,
        tokenizer_folder if has_tokenizer else base_folder or folder,
        template,
    )


def _quantization(recipe: Recipe) -> QloraMethod | None:
    return recipe.method if isinstance(recipe.method, QloraMethod) else None


def _template_of(run: RunDir) -> str | None:
    """The form that the run's rows were prepared in, which is the one that its model knows."""
    if not run.report("data").is_file():
        return None
    found = DataReport.read(run.report("data")).template
    return found if found in ("chat", "guide", "guide_chat") else None


def _chosen(config: ServeConfig, of_run: str | None) -> str | None:
    return of_run if config.template == "auto" else config.template


def _as_name(text: str) -> str:
    return NOT_IN_NAMES.sub("-", text).strip("-.")[:128] or "model"


def _refuse_twins(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(
            "usage",
            f"two models would be called {twice[0]}",
            where="serve.name or --adapter",
            fix=f"Give one of them another name; {BASE} is the base's.",
        )
