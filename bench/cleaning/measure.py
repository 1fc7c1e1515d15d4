"""How fast the cleaning is, and that its memory does not grow with the file.

    OMP_NUM_THREADS=1 python bench/cleaning/measure.py

Reads and cleans the bundled rows and two generated text files, 5 and 50 MB, under several settings, each in a process of its own;
writes measure.json beside this file. The generated text is the bundled sentences in an order of their own, with dirt planted.
"""

import json
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from luthier.config.clean import CleanConfig
from luthier.data.clean.cleaner import open_cleaner
from luthier.data.clean.presets import make_filters
from luthier.floor.stop import StopFlag
from luthier.text.rows import read_rows

HERE = Path(__file__).parent
BUNDLED = HERE.parents[1] / "data" / "train.jsonl"
PUBLISHED = {
    "gopher_repetition": True,
    "gopher_quality": True,
    "c4": True,
    "skip_rules": ["c4_terminal_punctuation", "duplicate_lines", "duplicate_line_characters"],
}
SETTINGS: dict[str, dict[str, Any]] = {
    "reading alone": {},
    "guide": {"preset": "guide"},
    "standard": {"preset": "standard"},
    "standard, masks": {"preset": "standard", "personal": {"action": "mask"}},
    "Gopher and C4": {"quality": PUBLISHED},
    "language among three": {"language": {"keep": ["en"], "among": ["en", "de", "fr"]}},
}
DIRT = (
    "clichÃ©",
    "two  spaces ",
    "a\u200bb",
    "tel. +49 30 1234567",
    "cafe\u0301",
    "\tx\n\n\n\n",
    "ann@example.org",
)
SENTENCES_A_ROW = 20


def write_text(path: Path, megabytes: int) -> Path:
    """Rows of twenty bundled sentences; one sentence in ten is followed by dirt."""
    chance = random.Random(0)
    lines = [json.loads(line)["prompt"] for line in BUNDLED.read_text(encoding="utf-8").splitlines()]
    written = 0
    with open(path, "w", encoding="utf-8") as file:
        while written < megabytes * 1_000_000:
            parts = [
                sentence + (" " + chance.choice(DIRT) if chance.random() < 0.1 else "")
                for sentence in chance.sample(lines, SENTENCES_A_ROW)
            ]
            written += file.write(json.dumps({"text": "\n".join(parts)}, ensure_ascii=False) + "\n")
    return path


def measure(path: Path, settings: dict[str, Any]) -> dict[str, float]:
    """Read and clean the file once, in this process."""
    filters = make_filters(CleanConfig.model_validate(settings))
    with (
        tempfile.TemporaryDirectory() as folder,
        open_cleaner(filters, Path(folder), StopFlag()) as cleaner,
    ):
        started = time.perf_counter()
        kept = sum(1 for _ in cleaner.clean(read_rows([path], "auto")))
        seconds = time.perf_counter() - started
        counts = cleaner.counts()
    rows = counts.rows_in if counts else kept
    return {
        "rows": rows,
        "rows_kept": kept,
        "rows_edited": counts.rows_edited if counts else 0,
        "seconds": round(seconds, 3),
        "rows_per_second": round(rows / seconds),
        "megabytes_per_second": round(path.stat().st_size / 1e6 / seconds, 2),
        "peak_megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, 1),
    }


def measure_apart(path: Path, name: str) -> dict[str, Any]:
    """The same in a process of its own, so that its peak memory is its own."""
    command = [sys.executable, __file__, str(path), name]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(answer.stdout)
    return result


def main() -> None:
    """Measure everything and write the JSON."""
    if len(sys.argv) > 1:
        print(json.dumps(measure(Path(sys.argv[1]), SETTINGS[sys.argv[2]])))
        return
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        files = {
            "bundled, 1.4 MB": BUNDLED,
            "text, 5 MB": write_text(Path(folder) / "5.jsonl", 5),
            "text, 50 MB": write_text(Path(folder) / "50.jsonl", 50),
        }
        for title, path in files.items():
            for name in SETTINGS:
                results[f"{title}; {name}"] = found = measure_apart(path, name)
                print(f"{title}; {name}: {found}", flush=True)
    report = {"python": platform.python_version(), "results": results}
    (HERE / "measure.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
