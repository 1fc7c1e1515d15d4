"""Run one piece of work in a process of its own, with a time limit of its own, and say how it ended."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from speed.outcome import Refusal

ROOT = Path(__file__).parents[2]
MARK = "RESULT "
LAST_LINES, MOST_CHARACTERS = 6, 600
# Inside words such as and/or, and behind the colon of an address, there is no path.
ABSOLUTE = re.compile(r"(?<![\w.:/-])(?:/[\w.+-]+)+/([\w.+-]+)")
SAYS_OUT_OF_MEMORY = re.compile(r"out of memory|OutOfMemoryError|can't allocate memory", re.IGNORECASE)
CACHES = ("XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "UNSLOTH_COMPILE_LOCATION")
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "UNSLOTH_DISABLE_STATISTICS": "1",
    "WANDB_DISABLED": "true",
    "DO_NOT_TRACK": "1",
}


def work(task: dict[str, Any], *, folder: Path, limit_seconds: float) -> dict[str, Any]:
    """The outcome of one task, with the seconds that the process took and the machine's load before and after."""
    folder.mkdir(parents=True, exist_ok=True)
    load, started = os.getloadavg()[0], time.perf_counter()
    file = folder / "task.json"
    file.write_text(json.dumps(task | {"folder": str(folder), "spawned": time.time()}))
    with open(folder / "stdout.txt", "w+b") as out, open(folder / "stderr.txt", "w+b") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "speed.contend", str(file)],
            cwd=folder,
            env=environment(task, folder),
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        try:
            process.wait(timeout=limit_seconds)
        except subprocess.TimeoutExpired:
            outcome: dict[str, Any] = {"status": "timed_out", "why": f"over {limit_seconds:.0f} s"}
        else:
            out.seek(0)
            err.seek(0)
            outcome = read_outcome(
                out.read().decode(), err.read().decode(errors="replace"), process.returncode
            )
        finally:
            end_group(process)
    if "why" in outcome:
        outcome["why"] = without_paths(outcome["why"])
    took = {"process_seconds": round(time.perf_counter() - started, 1)}
    return outcome | took | {"load": [round(load, 2), round(os.getloadavg()[0], 2)]}


def environment(task: dict[str, Any], folder: Path) -> dict[str, str]:
    """Quiet, offline and on one GPU; what is compiled is kept where the task says, or with this process's files alone: a cold start."""
    found = os.environ | QUIET
    ours = [str(ROOT / "bench"), str(ROOT / "src")]
    found["PYTHONPATH"] = os.pathsep.join([*ours, *filter(None, [found.get("PYTHONPATH")])])
    for name in CACHES:
        found[name] = str(Path(task.get("caches") or folder / "caches") / name.lower())
    # Trainer would spread itself over all that it sees.
    found.setdefault("CUDA_VISIBLE_DEVICES", "0")
    if task.get("threads"):
        found["OMP_NUM_THREADS"] = str(task["threads"])
    return found


def end_group(process: "subprocess.Popen[bytes]") -> None:
    """Nothing that the process started outlives it, or it would take from the next one."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def read_outcome(said: str, complaint: str, returncode: int) -> dict[str, Any]:
    """The result line, or what the process's last words mean."""
    for line in reversed(said.splitlines()):
        if line.startswith(MARK):
            found: dict[str, Any] = json.loads(line.removeprefix(MARK))
            return found
    lines = [line.strip() for line in complaint.strip().splitlines() if line.strip()]
    status = "out_of_memory" if SAYS_OUT_OF_MEMORY.search(complaint) else "failed"
    why = " | ".join(lines[-LAST_LINES:])[-MOST_CHARACTERS:]
    return {"status": status, "why": f"ended with {returncode}: {why}"}


def need(outcome: dict[str, Any]) -> dict[str, Any]:
    """The outcome of work that the rest stands on; raises Refusal if it has none."""
    if outcome["status"] != "measured":
        raise Refusal(outcome["status"], outcome["why"])
    return outcome


def without_paths(text: str) -> str:
    """Folders are this machine's own affair: the names of files stay."""
    return ABSOLUTE.sub(r"\1", text)
