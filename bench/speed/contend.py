"""One piece of work in a process of its own: `python -m speed.contend TASK.json` prints `RESULT {...}` as its last line.

A library that is not there and a GPU that is full are answers; anything else flies, and the session keeps its last words.
"""

import json
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from speed.outcome import Refusal

MARK = "RESULT "
WORK = {
    "probe": "machine.probe",
    "base": "material.make_base",
    "rows": "material.make_rows",
    "luthier": "luthier_program.compete",
    "hf_trainer": "trainers.hf_trainer",
    "trl": "trainers.trl",
    "unsloth": "trainers.unsloth",
    "generate": "answers.generate",
}


def main() -> None:
    task = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    # Libraries talk on standard output; the result is the one line that is ours.
    ours = os.dup(1)
    os.dup2(2, 1)
    outcome = contend(task)
    os.write(ours, (MARK + json.dumps(outcome) + "\n").encode())


def contend(task: dict[str, Any]) -> dict[str, Any]:
    """Do the work; how it ended, and its figures."""
    module, name = WORK[task["library"]].split(".")
    work: Callable[[dict[str, Any]], dict[str, Any]] = getattr(import_module(f"speed.{module}"), name)
    try:
        return {"status": "measured", **work(task)}
    except Refusal as refusal:
        return {"status": refusal.status, "why": refusal.why}
    except ImportError as fault:
        return {"status": "missing", "why": str(fault)}
    except RuntimeError as fault:
        if type(fault).__name__ != "OutOfMemoryError":
            raise
        return {"status": "out_of_memory", "why": str(fault).splitlines()[0]}


if __name__ == "__main__":
    main()
