"""Load a merged folder as its users will, in a process that never saw the merge, and say how it answers.

    python -m luthier.export.verify --model FOLDER --task FILE --result FILE

The task lists the rows, the kept logits of the adapter model and the hash of every merged weight; the result is one JSON
object. Judging is the caller's: this process measures. A process of its own, because a model in memory can differ from its
files in every way that matters: tied weights, a tokenizer, a shard that was never written.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict

from luthier.export.logits import ATTENTION, REPEAT, STOPPED, ComparedRow, KeptLogits, compare_with_kept
from luthier.export.save import DTYPES, hash_weights
from luthier.floor.child_process import read_tail, run_module
from luthier.floor.errors import EnvironmentFault, LuthierError
from luthier.floor.files import write_text
from luthier.floor.stop import StopFlag
from luthier.modelling.generate import generate_answers
from luthier.modelling.load import load_base
from luthier.text.tokenizer import hash_tokenizer, load_tokenizer


class Questions(BaseModel):
    """Prompts to answer, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompts: tuple[tuple[int, ...], ...] = ()
    stop_ids: tuple[int, ...] = ()
    pad_id: int = 0
    max_new_tokens: int = 1
    batch_tokens: int = 1


class Task(BaseModel):
    """What the fresh process is to look at."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str
    dtype: str
    """The number format to compute in: `fp32`, `bf16` or `fp16`."""
    logits: str
    """The file with the adapter model's logits."""
    vocabulary: int
    rows: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    """Ids and compared positions of every row."""
    weights: dict[str, str]
    """Hash of every merged weight, by name."""
    tokenizer: str
    """Hash of the run's tokenizer and its chat template."""
    questions: Questions


class Result(BaseModel):
    """What the fresh process saw. `fault` alone is set if the folder cannot be loaded."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    fault: str | None = None
    weights_wrong: tuple[str, ...] = ()
    tokenizer_agrees: bool = False
    tokens: int = 0
    max_logit_difference: float = float("inf")
    mean_kl: float = float("inf")
    top1_agreement: float = 0.0
    answers: tuple[tuple[int, ...], ...] = ()


def measure(folder: Path, task: Task) -> Result:
    """Load `folder` and compare it with what the task says of the model that was merged."""
    try:
        tokenizer = load_tokenizer(folder)
        model = load_base(
            folder, dtype=DTYPES[task.dtype], device=torch.device(task.device), attention=ATTENTION
        )
    except LuthierError as fault:
        return Result(fault=fault.what)
    found = hash_weights(model)
    names = sorted(task.weights.keys() | found.keys())
    rows = tuple(ComparedRow(ids, positions) for ids, positions in task.rows)
    difference = compare_with_kept(model, KeptLogits(Path(task.logits), rows, task.vocabulary), label="check")
    questions = task.questions
    answers = (
        generate_answers(
            model,
            questions.prompts,
            stop_ids=questions.stop_ids,
            pad_id=questions.pad_id,
            max_new_tokens=questions.max_new_tokens,
            batch_tokens=questions.batch_tokens,
        )
        if questions.prompts
        else []
    )
    return Result(
        weights_wrong=tuple(name for name in names if task.weights.get(name) != found.get(name)),
        tokenizer_agrees=hash_tokenizer(tokenizer) == task.tokenizer,
        tokens=difference.tokens,
        max_logit_difference=difference.max_absolute,
        mean_kl=difference.mean_kl,
        top1_agreement=difference.top1_agreement,
        answers=tuple(tuple(answer) for answer in answers),
    )


def measure_in_fresh_process(folder: Path, task: Task, *, work: Path, stop: StopFlag | None = None) -> Result:
    """Run `measure` in a new Python; files of the exchange lie in `work`.

    Raises EnvironmentFault if the process was killed, and what StopFlag.check raises.
    """
    task_file, result_file, log = work / "task.json", work / "result.json", work / "verify.log"
    write_text(task_file, task.model_dump_json())
    arguments = ["--model", str(folder), "--task", str(task_file), "--result", str(result_file)]
    code = run_module(
        "luthier.export.verify",
        arguments,
        log=log,
        stop=stop,
        stopped=STOPPED,
        repeat=REPEAT,
        variables={"HF_HUB_OFFLINE": "1"},
    )
    if code < 0:
        raise _killed(-code)
    if code != 0:
        raise RuntimeError(f"the checking process ended with {code}:\n{read_tail(log)}")
    return Result.model_validate_json(result_file.read_text(encoding="utf-8"))


def _killed(signal_number: int) -> EnvironmentFault:
    return EnvironmentFault(
        "env-memory",
        f"the process that checks the merged model was ended by signal {signal_number}",
        why="Signal 9 mostly means that memory ran out.",
        fix="Free memory and repeat the command, or check on another device: model.device=cpu",
    )


def main(arguments: list[str] | None = None) -> int:
    """The fresh process: read the task, measure, write the result."""
    parser = argparse.ArgumentParser(prog="luthier.export.verify")
    for name in ("--model", "--task", "--result"):
        parser.add_argument(name, type=Path, required=True)
    given: Any = parser.parse_args(arguments)
    task = Task.model_validate(json.loads(given.task.read_text(encoding="utf-8")))
    write_text(given.result, measure(given.model, task).model_dump_json())
    return 0


if __name__ == "__main__":
    sys.exit(main())
