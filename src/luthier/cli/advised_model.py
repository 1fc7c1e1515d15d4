"""What an advice is about: the model of a run or a folder, the machine and the traffic that were named, or this machine."""

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

from luthier.cli.choose import finished_run, shown_path
from luthier.floor.errors import ModelError, UsageError
from luthier.floor.log import Listener
from luthier.floor.nvidia import first_nvidia_gpu
from luthier.floor.rundir import RunDir
from luthier.knowledge.deployment import READING_TOKENS_PER_SECOND, SECONDS_BETWEEN_QUESTIONS
from luthier.knowledge.deployment_advice import machine_of_gpu
from luthier.knowledge.hardware import find_gpu, need_gpu
from luthier.knowledge.model_config import read_config
from luthier.knowledge.serving_memory import CPU_BYTES_PER_SECOND, Machine, ServedModel, Traffic

SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:(k|m|g|t)i?b?)?", re.IGNORECASE)
MOST_REQUESTS = 1e9
POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}


@dataclass(frozen=True)
class Subject:
    """A model to serve, and where it lies."""

    model: ServedModel
    run: RunDir | None
    folder: Path
    has_chat_template: bool = True
    """False for a run that was trained on the guide's single prompts or tags."""

    @property
    def typed(self) -> str:
        """How it is named on a command line."""
        return shown_path(self.run) if self.run is not None else str(self.folder)


def find_subject(target: str | None, listener: Listener) -> Subject:
    """The model of a run, or of a folder with a config.json. Raises UsageError or ModelError if there is none."""
    if target is not None and Path(target).name == "config.json":
        target = str(Path(target).parent)
    if target is not None and (Path(target) / "config.json").is_file():
        return _subject(None, Path(target), name=Path(target).resolve().name)
    run = finished_run(target, listener)
    return _subject(run, _folder_of(run), name=run.name)


def _subject(run: RunDir | None, folder: Path, *, name: str) -> Subject:
    config = read_config(folder)
    model = ServedModel.of(config, name=name, file_bytes=_file_bytes(run) if run is not None else {})
    if model is None:
        raise ModelError(
            "mdl-config",
            f"config.json of {config['model_type']} does not name the sizes of a usual decoder",
            where=str(folder / "config.json"),
            why="Memory is worked out from width, layers, heads and vocabulary.",
            fix="Serve it and measure: luthier bench serve URL",
        )
    return Subject(model, run, folder, run is None or _template(run) in ("", "chat"))


def _folder_of(run: RunDir) -> Path:
    """The folder with the configuration of a run's model: its merged model, its whole model, or the base of its adapter."""
    for folder in (run.stage("merge") / "model", run.model):
        if (folder / "config.json").is_file():
            return folder
    from luthier.knowledge.model_folder import find_local_model
    from luthier.reports.train import TrainReport

    base = TrainReport.read(run.report("train")).base
    found = find_local_model(base)
    if found is None:
        raise ModelError(
            "mdl-missing",
            f"the base {base} of the run is not on this machine any more, and nothing is fetched for an advice",
            where=str(run.path),
            fix="Name a folder with its config.json: luthier advise deploy FOLDER",
        )
    return found


def _template(run: RunDir) -> str:
    """The form of the rows that a run was trained on; empty where that is not known."""
    path = run.report("data")
    if not path.is_file():
        return ""
    from luthier.reports.data import DataReport

    return DataReport.read(path).template


def _file_bytes(run: RunDir) -> dict[str, int]:
    """The sizes of the run's GGUF files, by type."""
    path = run.report("export/gguf")
    if not path.is_file():
        return {}
    from luthier.reports.gguf import GgufReport

    return {file.type: file.file_bytes for file in GgufReport.read(path).files}


def machine_of(gpu: str | None, *, gpus: int, cpu: bool, memory: str | None) -> Machine:
    """The machine that was named, or this one. Raises UsageError for a GPU that is not known and for what is no size."""
    given = parse_size(memory) if memory is not None else None
    if cpu and gpu is not None:
        raise UsageError(
            "usage", "--cpu and --gpu exclude each other", where="the command line", fix="Leave one out."
        )
    if gpu is None and not cpu:
        gpu = _gpu_here()
    if gpu is None:
        name = "a CPU" if cpu and given else "this CPU"
        return Machine(name, given or _memory_here(), CPU_BYTES_PER_SECOND, None, is_gpu=False)
    return machine_of_gpu(need_gpu(gpu), count=gpus, name=gpu, memory_bytes=given)


def parse_size(text: str) -> int:
    """Bytes of `16GiB`, `16GB`, `512M` or `16`, which are GiB; every unit is a power of 1,024. Raises UsageError."""
    found = SIZE.fullmatch(text.strip())
    count = float(found[1]) * 1024 ** POWERS[(found[2] or "g").lower()] if found else 0.0
    if not 1 <= count < 2**60:
        raise UsageError(
            "usage", f"{text!r} is no size of memory", where="--memory", fix="For example: --memory 16GiB"
        )
    return int(count)


def _memory_here() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _gpu_here() -> str | None:
    """The name of this machine's first GPU if it is known, else None."""
    here = first_nvidia_gpu()
    return here.name if here is not None and find_gpu(here.name) is not None else None


def traffic_of(
    users: int | None,
    requests_per_second: float | None,
    concurrency: int | None,
    *,
    prompt_tokens: int,
    answer_tokens: int,
) -> Traffic:
    """The traffic that was named. What is not named follows from what is, answers coming at reading pace; nothing named is one person.

    Raises UsageError for a rate that is none. By Little's law answers under way are the rate times the seconds that one takes.
    """
    seconds = answer_tokens / READING_TOKENS_PER_SECOND
    rate = requests_per_second
    if rate is not None and not rate <= MOST_REQUESTS:
        raise UsageError(
            "usage",
            f"{rate} is no number of requests a second",
            where="--requests-per-second",
            fix="For example: --requests-per-second 2.5",
        )
    if rate is None and concurrency is not None and users is None:
        rate = concurrency / seconds
    if rate is None:
        rate = (users or 1) / SECONDS_BETWEEN_QUESTIONS
    at_once = concurrency or max(1, math.ceil(rate * seconds))
    return Traffic(rate, prompt_tokens, answer_tokens, at_once, people=users or 1)
