"""Luthier as a user has it: a recipe, `luthier prepare`, `luthier train`, and what metrics.jsonl says. Nothing of it is patched."""

import json
import math
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from speed.outcome import Refusal

POLL_SECONDS = 0.02
OUT_OF_MEMORY = "env-memory"


def compete(task: dict[str, Any]) -> dict[str, Any]:
    """Measure Luthier on a row's work; raises Refusal where a command ends with an error."""
    kind = task["workload"]["kind"]
    folder = Path(task["folder"])
    recipe = folder / "recipe.yaml"
    recipe.write_text(json.dumps(recipe_of(task), indent=1))
    if kind == "generate":
        return generate(task, recipe)
    if kind == "first_step":
        run_luthier(["prepare", str(recipe), "--json"], folder=folder)
        # The second process finds what the first compiled.
        cold, warm = (train(task, recipe, folder / name)["first_step_seconds"] for name in ("cold", "warm"))
        return {"first_step_seconds": warm, "cold_first_step_seconds": cold}
    run_luthier(["prepare", str(recipe), "--json"], folder=folder)
    return train(task, recipe, folder / "run")


def recipe_of(task: dict[str, Any]) -> dict[str, Any]:
    """The recipe of a row: its tree, and on top the contender's settings with dots."""
    workload, rows = task["workload"], task["rows_facts"]
    total = workload["warmup"] + workload["steps"]
    method: dict[str, Any] = {"kind": workload["method"]}
    if workload["method"] in ("lora", "qlora"):
        method |= {"rank": workload["rank"], "alpha": workload["alpha"], "dropout": task["dropout"]}
    tree: dict[str, Any] = {
        "model": {"name": task["base"]},
        "data": {
            "path": task["rows"],
            "format": "tokens",
            "max_length": max(workload["longest"], rows["longest_tokens"]),
            "validation_fraction": 0,
            "cache_path": str(Path(task["folder"]) / "cache"),
        },
        "method": method,
        "train": {
            "most_steps": total,
            "lr": workload["lr"],
            "threads": workload["threads"],
            "log": {"logging_steps": 1, "trackers": []},
            "checkpoint": {"save_steps": 0, "keep_best": 0},
        },
    }
    for name, value in task["settings"].items():
        place = tree
        *sections, last = name.split(".")
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    train = tree["train"]
    step_tokens = train.get("tokens_per_step") or train.get("batch_size", 4) * train.get(
        "gradient_accumulation_steps", 2
    ) * (rows["tokens"] / rows["rows"])
    # A pack is not quite full, so more rows are needed than its size says: half as many again.
    train["epochs"] = float(math.ceil(1.5 * total * step_tokens / rows["tokens"]) + 1)
    return tree


def train(task: dict[str, Any], recipe: Path, run: Path) -> dict[str, Any]:
    """Tokens a second behind the warm-up, the peak, and the time from the program's start to its first line of metrics."""
    metrics = run / "metrics.jsonl"
    first: list[float] = []
    started = time.perf_counter()

    def look() -> None:
        if not first and metrics.is_file() and b"\n" in metrics.read_bytes():
            first.append(time.perf_counter() - started)

    run_luthier(
        ["train", str(recipe), "--run", str(run), "--json"], folder=Path(task["folder"]), meanwhile=look
    )
    look()
    lines = [json.loads(line) for line in metrics.read_text("utf-8").splitlines()]
    report = json.loads((run / "train" / "report.json").read_text("utf-8"))
    shutil.rmtree(run, ignore_errors=True)
    return read_metrics(lines, warmup=task["workload"]["warmup"]) | {
        "first_step_seconds": first[0],
        "attention": report.get("attention"),
        "precision": report.get("precision"),
    }


def read_metrics(lines: list[dict[str, Any]], *, warmup: int) -> dict[str, Any]:
    """What the lines after the warm-up say; raises Refusal if there are none."""
    steps = {line["step"]: line for line in lines if "tokens_per_second" in line}
    last = max(steps, default=0)
    if warmup not in steps or last <= warmup:
        raise Refusal("failed", f"metrics.jsonl has the steps 1 to {last}, and {warmup} are warm-up")
    before, after = steps[warmup], steps[last]
    tokens, seconds = after["tokens"] - before["tokens"], after["seconds"] - before["seconds"]
    return {
        "tokens_per_second": tokens / seconds,
        "tokens": tokens,
        "seconds": seconds,
        "steps": last - warmup,
        "peak_bytes": max(line["peak_bytes"] for line in steps.values()),
        "first_loss": steps[min(steps)]["loss"],
        "last_loss": after["loss"],
    }


def generate(task: dict[str, Any], recipe: Path) -> dict[str, Any]:
    """New tokens a second as `luthier bench generate` measures the product's own generation."""
    workload = task["workload"]
    counts = ["--prompts", str(workload["prompts"]), "--new-tokens", str(workload["new_tokens"])]
    said = run_luthier(["bench", "generate", str(recipe), *counts, "--json"], folder=Path(task["folder"]))
    found = json.loads(said)
    kept = ("tokens_per_second", "tokens", "seconds", "peak_bytes", "attention", "precision")
    return {name: found[name] for name in kept}


def run_luthier(words: list[str], *, folder: Path, meanwhile: Any = None) -> str:
    """Run the program in `folder`; its standard output. Raises Refusal with the program's own words."""
    with open(folder / "stdout.luthier", "w+b") as said, open(folder / "stderr.luthier", "w+b") as talk:
        process = subprocess.Popen(
            [sys.executable, "-m", "luthier", *words], cwd=folder, stdout=said, stderr=talk
        )
        while process.poll() is None:
            if meanwhile is not None:
                meanwhile()
            time.sleep(POLL_SECONDS)
        said.seek(0)
        talk.seek(0)
        output, complaint = said.read().decode(), talk.read().decode(errors="replace")
    if process.returncode:
        status = "out_of_memory" if OUT_OF_MEMORY in output + complaint else "failed"
        why = complaint.strip().splitlines()[-12:]
        raise Refusal(status, f"luthier {words[0]} ended with {process.returncode}: " + " | ".join(why))
    return output
