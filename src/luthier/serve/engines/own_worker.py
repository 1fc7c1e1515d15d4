"""The process of Luthier's own generator: loads the models, then answers orders, a line of JSON each, on standard input and output.

In a process of its own, so that the server stays quick while torch holds the interpreter, and lives on if this one dies.

In: the specification; then {"do": "prepare" | "generate" | "cancel", ...}. Out: {"is": "ready" | "failed"}; then "prepared",
"refused", "pieces", "lost". It ends when its input does. Log lines go to standard error.
"""

import json
import logging
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from luthier.serve.engines.own_loop import House


def load_own(specification: dict[str, Any]) -> "House":
    """Models of safetensors, by torch."""
    from luthier.serve.engines.own_house import House

    return House(specification)


def main(load: "Callable[[dict[str, Any]], House]" = load_own) -> int:
    """Work until the input ends; the exit code is that of the error that kept the models from loading."""
    # Whatever a library prints must not get between the lines.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    # It warns, when PEFT imports it, that a kernel is not there which nobody asked for: so this stands before the imports.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

    from luthier.floor.errors import LuthierError
    from luthier.serve.engines.own_loop import Line, facts_of, work

    line = Line(out)
    try:
        house = load(json.loads(sys.stdin.readline()))
    except LuthierError as fault:
        line.say(**{"is": "failed"}, kind=type(fault).__name__, **fault.as_json())
        return fault.exit_code
    line.say(**{"is": "ready"}, **facts_of(house))
    work(house, line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
