"""Measure the memory of `luthier prepare`, its processes together, on a file repeated to several sizes: it should not grow.

    python bench/tokenize/memory.py --rows ROWS.jsonl --tokenizer FOLDER --repeats 1 5 --json bench/tokenize/memory.json

With `--clean` the rows are cleaned by the standard preset on their way.

Resident memory of the process and its children (Linux), looked at five times a second; `before` is what the imports take.
"""

import argparse
import json
import os
import platform
import shutil
import tempfile
import threading
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from measure import make_tiny_base
from transformers import AutoTokenizer

from luthier.config.recipe import Recipe
from luthier.data.stage import prepare
from luthier.floor.rundir import RunDir

MIB = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the memory of prepare.")
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--repeats", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--clean", action="store_true", help="clean by the standard preset")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    sizes = " ".join(map(str, arguments.repeats))
    result = {
        "command": f"python bench/tokenize/memory.py --rows {arguments.rows.name} --tokenizer FOLDER --repeats {sizes}"
        + " --clean" * arguments.clean,
        "runs": [
            measure(
                arguments.rows, arguments.tokenizer, times, preset="standard" if arguments.clean else "none"
            )
            for times in arguments.repeats
        ],
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "packages": {
            name: metadata.version(name) for name in ("tokenizers", "transformers", "torch", "numpy")
        },
    }
    print(json.dumps(result, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measure(rows: Path, tokenizer: Path, times: int, *, preset: str) -> dict[str, Any]:
    """Prepare the file so many times over; returns sizes, seconds and the peak."""
    scratch = Path(tempfile.mkdtemp())
    try:
        base, repeated = scratch / "base", scratch / "rows.jsonl"
        AutoTokenizer.from_pretrained(tokenizer).save_pretrained(base)
        make_tiny_base(base)
        with open(repeated, "wb") as file:
            for _ in range(times):
                with open(rows, "rb") as once:
                    shutil.copyfileobj(once, file)
        data = {"path": str(repeated), "cache_path": str(scratch / "cache"), "max_length": 2048}
        recipe = Recipe.model_validate(
            {
                "model": {"name": str(base)},
                "data": data | {"overlong": "truncate", "clean": {"preset": preset}},
                "train": {"pack_tokens": 65536},
            }
        )
        watch = Watch()
        started = time.perf_counter()
        report = prepare(recipe, RunDir(scratch / "run"))
        return {
            "megabytes": round(repeated.stat().st_size / 1e6),
            "tokens": report.train.tokens,
            "seconds": round(time.perf_counter() - started, 1),
            "before_mib": watch.before // MIB,
            "peak_mib": watch.stop() // MIB,
        }
    finally:
        shutil.rmtree(scratch)


class Watch:
    """Looks at the memory of this process and its children from a thread."""

    def __init__(self) -> None:
        self.before = self._peak = resident_bytes()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def stop(self) -> int:
        """The peak, bytes."""
        self._ended.set()
        self._thread.join()
        return self._peak

    def _look(self) -> None:
        while not self._ended.wait(0.2):
            self._peak = max(self._peak, resident_bytes())


def resident_bytes() -> int:
    """Resident memory of this process and its children."""
    found = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if os.getpid() in (int(process.name), parent):
                found += int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:  # it ended meanwhile
            continue
    return found


if __name__ == "__main__":
    main()
