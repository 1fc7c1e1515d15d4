"""Run a task of tasks.py in a process of its own, and say in plain words how it ended."""

from pathlib import Path
from typing import TypeVar

from luthier.floor.child_process import read_tail, run_module
from luthier.floor.errors import EnvironmentFault, LuthierError, ModelError
from luthier.floor.files import free_bytes, free_room, write_text
from luthier.floor.stop import StopFlag
from luthier.llamacpp.tasks import DISK_REFUSES, Exchange, Measure, Measured, Quantize, Quantized

FULL_BYTES = 64 * 1024
LOG_LINES_SHOWN = 3
STOPPED = "the export was stopped; it left nothing behind"
REPEAT = "Repeat the command."
OUT_OF_MEMORY = -9

Answer = TypeVar("Answer", bound=Exchange)


def measure(task: Measure, *, work: Path, stop: StopFlag | None = None) -> Measured:
    """Load a file and compute what `task` asks; files of the exchange lie in `work`.

    Raises ModelError gguf-load with llama.cpp's own words if it refuses the file or dies of it, EnvironmentFault env-memory if
    memory is short or the process was killed, env-disk if `work` is full, and what StopFlag.check raises.
    """
    measured = _run(task, Measured, work=work, stop=stop, file=task.adapter or task.model)
    if measured.fault is not None:
        raise _refused(measured.fault, task.adapter or task.model, work, code=measured.code)
    return measured


def quantize(task: Quantize, *, work: Path, stop: StopFlag | None = None) -> None:
    """Write a file in another type. Raises as `measure` does; half a target is for the caller to delete."""
    done = _run(task, Quantized, work=work, stop=stop, file=task.source)
    if done.fault is not None and free_bytes(work) < FULL_BYTES:
        # llama.cpp says only that it failed; it writes until nothing more fits.
        raise _no_room(work)
    if done.fault is not None:
        raise _refused(done.fault, task.source, work, code=done.code)


def _run(task: Exchange, answer: type[Answer], *, work: Path, stop: StopFlag | None, file: str) -> Answer:
    task_file, result_file, log = work / "llama-task.json", work / "llama-result.json", work / "llama.log"
    write_text(task_file, task.model_dump_json())
    result_file.unlink(missing_ok=True)
    code = run_module(
        "luthier.llamacpp.worker",
        [str(task_file), str(result_file)],
        log=log,
        stop=stop,
        stopped=STOPPED,
        repeat=REPEAT,
    )
    if code == OUT_OF_MEMORY:
        raise EnvironmentFault(
            "env-memory",
            "the process that runs llama.cpp was killed by signal 9",
            where=file,
            why="Mostly that means that memory ran out.",
            fix="Free memory, then repeat the command.",
        )
    if code < 0:
        raise _refused(f"llama.cpp died of the file (signal {-code})", file, work)
    if code == DISK_REFUSES:
        raise _no_room(work)
    if code > 0:
        raise RuntimeError(f"the llama.cpp process ended with {code}:\n{read_tail(log)}")
    return answer.model_validate_json(result_file.read_text(encoding="utf-8"))


def _no_room(work: Path) -> EnvironmentFault:
    return EnvironmentFault(
        "env-disk",
        "the process that runs llama.cpp has no room to write",
        where=str(work),
        why=f"{free_room(work)} are free there.",
        fix="Make room, then repeat the command.",
    )


def _refused(what: str, file: str, work: Path, *, code: str = "gguf-load") -> LuthierError:
    if code == "env-disk":
        return _no_room(work)
    if code == "env-memory":
        return EnvironmentFault(code, what, where=file, fix="Free memory, then repeat the command.")
    lines = [line.strip() for line in read_tail(work / "llama.log").splitlines() if line.strip()]
    return ModelError(
        "gguf-load",
        what,
        where=file,
        problems=[line[:200] for line in lines[-LOG_LINES_SHOWN:]],
        fix="If the file was made elsewhere, take it again from where it was published.",
    )
