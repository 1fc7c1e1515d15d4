"""Measure rows tokenized before training (`cached`) beside rows tokenized as training reaches them (`on_the_fly`).

    python bench/tokenize/strategies.py --rows ROWS.jsonl --rounds 3 --repeat 10 --json bench/tokenize/strategies.json

Of each: seconds of the preparation, seconds from the start of `luthier train` to its first step in a new folder, bytes of the
cache, tokens a second of the steps over the embedded base, and tokens a second of batches that nobody trains on, which no training
can pass. The first three once more with the rows so many times over.
"""

import argparse
import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from luthier.config.recipe import Recipe
from luthier.data.stage import prepare
from luthier.encoding.open import training_rows
from luthier.floor.rundir import RunDir
from luthier.tokens.row_order import RowOrder
from luthier.train.batches import BatchMaker

STRATEGIES = ("cached", "on_the_fly")
DIALS: dict[str, dict[str, Any]] = {
    "rows": {"batch_size": 8, "gradient_accumulation_steps": 2},
    "tokens": {"tokens_per_step": 32768, "pack_tokens": 16384},
}
BATCH_TOKENS = 4_000_000
TRAINED_STEPS = 12


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure both strategies.")
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--repeat", type=int, default=10)
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    rounds = [
        {each: measure(arguments.rows.resolve(), each) for each in STRATEGIES}
        for _ in range(arguments.rounds)
    ]
    options = f"--rounds {arguments.rounds} --repeat {arguments.repeat}"
    result = {
        "command": f"python bench/tokenize/strategies.py --rows {arguments.rows.name} {options}",
        "rows_file_bytes": arguments.rows.stat().st_size,
        "median": {
            each: {key: statistics.median(one[each][key] for one in rounds) for key in rounds[0][each]}
            for each in STRATEGIES
        },
        f"times_{arguments.repeat}": {
            each: measure(arguments.rows.resolve(), each, times=arguments.repeat) for each in STRATEGIES
        },
        "rounds": rounds,
        "cores": len(os.sched_getaffinity(0)),
        "load_before": round(load, 2),
        "python": platform.python_version(),
        "packages": {
            name: metadata.version(name) for name in ("tokenizers", "transformers", "torch", "numpy")
        },
    }
    print(json.dumps(result, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measure(rows: Path, strategy: str, *, times: int = 1) -> dict[str, float]:
    """One round of one strategy, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if times > 1:
            rows = repeated(rows, times, place / "rows.jsonl")
        found: dict[str, float] = {"prepare_seconds": prepare_seconds(rows, strategy, place / "alone")}
        found["first_step_seconds"] = first_step_seconds(rows, strategy, place)
        found["cache_bytes"] = sum(file.stat().st_size for file in (place / "cache").rglob("*.bin"))
        if times > 1:
            return found
        found["trained_tokens_per_second"] = trained_tokens_per_second(place)
        for dial, settings in DIALS.items():
            found[f"batch_tokens_per_second_by_{dial}"] = batch_tokens_per_second(
                rows, strategy, place, dial, settings
            )
        return found


def repeated(rows: Path, times: int, path: Path) -> Path:
    """The rows so many times over."""
    content = rows.read_bytes()
    with open(path, "wb") as file:
        for _ in range(times):
            file.write(content)
    return path


def prepare_seconds(rows: Path, strategy: str, folder: Path) -> float:
    """A preparation in this process, which has imported everything."""
    recipe = Recipe.model_validate(tree(rows, strategy, folder, {"most_steps": 1}))
    importlib.import_module("luthier.data.write")
    started = time.perf_counter()
    prepare(recipe, RunDir(folder / "run"))
    return time.perf_counter() - started


def tree(rows: Path, strategy: str, folder: Path, train: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": {"name": "embedded", "device": "cpu"},
        "data": {
            "path": str(rows),
            "cache_path": str(folder / "cache"),
            "max_length": 1024,
            "overlong": "truncate",
            "validation_fraction": 0.0,
            "tokenization": strategy,
        },
        "train": {"log": {"logging_steps": 1, "trackers": []}, **train},
    }


def first_step_seconds(rows: Path, strategy: str, folder: Path) -> float:
    """From the command to the first line of metrics; the training goes on to its few steps."""
    import yaml

    train = {"batch_size": 2, "gradient_accumulation_steps": 1, "most_steps": TRAINED_STEPS}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(tree(rows, strategy, folder, train)), encoding="utf-8")
    run = folder / "run"
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "luthier", "train", "recipe.yaml", "--run", str(run)],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    metrics, seconds = run / "metrics.jsonl", 0.0
    while not seconds:
        if process.poll() is not None and not metrics.exists():
            raise RuntimeError(f"the training ended before its first step ({process.returncode})")
        if metrics.exists() and metrics.stat().st_size:
            seconds = time.perf_counter() - started
        time.sleep(0.01)
    process.wait()
    return seconds


def trained_tokens_per_second(folder: Path) -> float:
    """Of the steps after the first two."""
    lines = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()][1:]
    tokens, seconds = (lines[-1][key] - lines[0][key] for key in ("tokens", "seconds"))
    return float(tokens / seconds)


def batch_tokens_per_second(
    rows: Path, strategy: str, folder: Path, dial: str, settings: dict[str, Any]
) -> float:
    """How fast batches are made in the order of training, and nothing else is done."""
    recipe = Recipe.model_validate(
        tree(rows, strategy, folder, settings | {"most_steps": 10**6, "epochs": 1})
    )
    run = RunDir(folder / dial)
    report = prepare(recipe, run)
    with training_rows(recipe, report) as reading:
        order = RowOrder(reading.lengths, recipe)
        maker = BatchMaker(reading, torch.device("cpu"), "luthier_segments", True, 0)
        tokens, number, started = 0, 0, time.perf_counter()
        while tokens < BATCH_TOKENS:
            for micro_batch in order.step(number).micro_batches:
                tokens += maker.make(micro_batch).tokens
            number += 1
        return tokens / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
