"""The process in which llama.cpp runs: whatever a GGUF file does to it, the caller lives on.

    python -P -m luthier.llamacpp.worker TASK-FILE RESULT-FILE

The task is one of tasks.py, told apart by its fields. No torch, no transformers: it starts in a fraction of a second.
"""

import json
import resource
import sys
from pathlib import Path

from safetensors.numpy import load_file

from luthier.floor.errors import EnvironmentFault, LuthierError
from luthier.floor.files import disk_faults, write_text
from luthier.llamacpp.library import Library, LoadedModel, open_model
from luthier.llamacpp.tasks import DISK_REFUSES, Measure, Measured, Quantize, Quantized


def measure(task: Measure) -> Measured:
    """Load the file and compute what is asked."""
    try:
        library = Library(Path(task.library))
        with open_model(library, Path(task.model), vocabulary_only=task.is_vocabulary_only) as model:
            ids = tuple(tuple(model.tokenize(text, add_special=task.begin)) for text in task.texts)
            vocabulary = model.vocabulary_tokens
            measured = Measured(
                vocabulary=vocabulary,
                file_type=model.file_type,
                chat_template=model.chat_template,
                begin=tuple(model.begin),
                end_of_text=model.end_of_text,
                stop_ids=tuple(token for token in range(vocabulary) if model.is_end(token)),
                ids=ids,
            )
            if task.is_vocabulary_only:
                return measured
            _start(model, task)
            _write_logits(model, task)
            return measured.model_copy(update={"answers": _answers(model, task)})
    except LuthierError as fault:
        return Measured(fault=fault.what, code=fault.code)


def _start(model: LoadedModel, task: Measure) -> None:
    prompts = task.prompts
    longest = max(
        [len(row.ids) for row in task.rows] + [len(ids) + prompts.new_tokens for ids in prompts.ids]
    )
    model.start(context_tokens=longest, threads=task.threads)
    if task.adapter is not None:
        model.use_adapter(Path(task.adapter))


def _write_logits(model: LoadedModel, task: Measure) -> None:
    if task.logits is None:
        return
    with disk_faults(Path(task.logits)), open(task.logits, "wb") as file:
        for row in task.rows:
            for logits_V in model.logits(row.ids, row.positions):
                file.write(logits_V.astype("<f4").tobytes())


def _answers(model: LoadedModel, task: Measure) -> tuple[tuple[int, ...], ...]:
    prompts = task.prompts
    return tuple(
        tuple(model.continue_greedily(ids, new_tokens=prompts.new_tokens, stop_ids=prompts.stop_ids))
        for ids in prompts.ids
    )


def quantize(task: Quantize) -> Quantized:
    """Write the file in another type."""
    try:
        importance = load_file(task.importance) if task.importance is not None else None
        Library(Path(task.library)).quantize(
            Path(task.source),
            Path(task.target),
            file_type=task.file_type,
            threads=task.threads,
            importance=importance,
        )
    except LuthierError as fault:
        return Quantized(fault=fault.what, code=fault.code)
    return Quantized()


def main(arguments: list[str]) -> int:
    """Read the task, do it, write the result."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # an abort over a hostile file leaves no dump of memory
    task_file, result_file = map(Path, arguments)
    task = json.loads(task_file.read_text(encoding="utf-8"))
    try:
        done = quantize(Quantize(**task)) if "target" in task else measure(Measure.model_validate(task))
        write_text(result_file, done.model_dump_json())
    except EnvironmentFault:  # the log lies on the same disk, so nothing can be said there either
        return DISK_REFUSES
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
