"""Measure `luthier prepare` beside the raw tokenizer and `datasets.map`: the same rows, tokenizer and cores, in turn.

    python bench/tokenize/measure.py --rows ROWS.jsonl --tokenizer FOLDER --json bench/tokenize/NAME.json

Four programs, each in a process of its own, one after the other in every round; the medians are compared:
  raw       tokenizers.encode_batch_fast over the texts, which lie in memory already: nothing read, nothing written
  luthier   the data stage: rows read and judged, rendered, masked, split, written as a token store, hashed
  map       datasets.map(batched=True) with the Transformers tokenizer, one process, which lets the Rust threads work
  map-procs the same with a process a core

Seconds count from the first row to the last token on disk; imports and the loading of the tokenizer are left out of all four.
Rows are {"text"} or {"prompt", "completion"}; all four encode the same segments.
"""

import argparse
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

PROGRAMS = ("raw", "luthier", "map", "map-procs")
RAW_BATCH = 1024  # the fastest of 256, 1024, 4096 and all texts at once, on both sets


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the speed of tokenization beside the peers.")
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--only", choices=PROGRAMS, help="run one program and print its figures (used by the rounds)"
    )
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(run_one(arguments.only, arguments.rows, arguments.tokenizer)))
        return
    result = compare(arguments.rows, arguments.tokenizer, arguments.rounds)
    print(json.dumps(result, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def compare(rows: Path, tokenizer: Path, rounds: int) -> dict[str, Any]:
    """Every program once a round, in turn, so that a busy minute touches them all."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in PROGRAMS}
    for number in range(rounds):
        for name in PROGRAMS:
            line = [
                sys.executable,
                __file__,
                "--rows",
                str(rows),
                "--tokenizer",
                str(tokenizer),
                "--only",
                name,
            ]
            out = subprocess.run(line, check=True, capture_output=True, text=True, env=environment())
            found[name].append(json.loads(out.stdout.splitlines()[-1]))
            print(f"round {number + 1}: {name}: {found[name][-1]}", file=sys.stderr)
    seconds = {name: statistics.median(run["seconds"] for run in runs) for name, runs in found.items()}
    tokens = {name: runs[0]["tokens"] for name, runs in found.items()}
    packages = ("tokenizers", "transformers", "datasets", "numpy")
    return {
        "command": f"python bench/tokenize/measure.py --rows {rows.name} --tokenizer {tokenizer.name} --rounds {rounds}",
        "rows_file_bytes": rows.stat().st_size,
        "tokens": tokens,
        "seconds_median": {name: round(value, 3) for name, value in seconds.items()},
        "seconds_all": {name: [round(run["seconds"], 3) for run in runs] for name, runs in found.items()},
        "tokens_per_second": {name: round(tokens[name] / seconds[name]) for name in PROGRAMS},
        "share_of_raw": round(seconds["raw"] / seconds["luthier"], 3),
        "times_map": round(min(seconds["map"], seconds["map-procs"]) / seconds["luthier"], 2),
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in packages},
    }


def environment() -> dict[str, str]:
    """The Rust threads on, progress bars off, nothing asked of the hub."""
    quiet = {"HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "HF_HUB_OFFLINE": "1"}
    return os.environ | quiet | {"TOKENIZERS_PARALLELISM": "true"}


def run_one(name: str, rows: Path, tokenizer: Path) -> dict[str, float]:
    """Seconds and tokens of one program."""
    with tempfile.TemporaryDirectory() as scratch:
        if name == "raw":
            return run_raw(rows, tokenizer)
        if name == "luthier":
            return run_luthier(rows, tokenizer, Path(scratch))
        return run_map(rows, tokenizer, Path(scratch), processes=cores() if name == "map-procs" else None)


def cores() -> int:
    return len(os.sched_getaffinity(0))


def segments_of(fields: dict[str, str]) -> list[str]:
    """What is encoded of a row: the guide encodes prompt and completion apart."""
    return [fields["text"]] if "text" in fields else [fields["prompt"] + "\n", fields["completion"]]


def run_raw(rows: Path, tokenizer: Path) -> dict[str, float]:
    from tokenizers import Tokenizer

    backend = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    texts = [text for line in rows.read_text("utf-8").splitlines() for text in segments_of(json.loads(line))]
    started = time.perf_counter()
    tokens = 0
    for start in range(0, len(texts), RAW_BATCH):
        encoded = backend.encode_batch_fast(texts[start : start + RAW_BATCH], add_special_tokens=False)
        tokens += sum(len(encoding) for encoding in encoded)
    return {"seconds": time.perf_counter() - started, "tokens": tokens}


def run_luthier(rows: Path, tokenizer: Path, scratch: Path) -> dict[str, float]:
    from transformers import AutoTokenizer

    from luthier.config.recipe import Recipe
    from luthier.data.stage import prepare
    from luthier.floor.rundir import RunDir

    base = scratch / "base"
    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(base)
    make_tiny_base(base)
    recipe = Recipe.model_validate(
        {
            "model": {"name": str(base)},
            "data": {
                "path": str(rows),
                "cache_path": str(scratch / "cache"),
                "validation_fraction": 0.0,
                "max_length": 1_000_000,
            },
            "train": {"pack_tokens": 1_000_000},
        }
    )
    started = time.perf_counter()
    report = prepare(recipe, RunDir(scratch / "run"))
    return {"seconds": time.perf_counter() - started, "tokens": report.train.tokens}


def make_tiny_base(folder: Path) -> None:
    """The least model that a recipe can name, beside the tokenizer: the data stage looks at the size of its vocabulary."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(folder)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(folder)


def run_map(rows: Path, tokenizer: Path, scratch: Path, *, processes: int | None) -> dict[str, float]:
    import datasets
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(tokenizer)

    def encode(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        if "text" in batch:
            ids = loaded(batch["text"], add_special_tokens=False)["input_ids"]
            return {"input_ids": ids, "labels": ids}
        prompts = loaded([text + "\n" for text in batch["prompt"]], add_special_tokens=False)["input_ids"]
        answers = loaded(batch["completion"], add_special_tokens=False)["input_ids"]
        pairs = list(zip(prompts, answers, strict=True))
        return {
            "input_ids": [prompt + answer for prompt, answer in pairs],
            "labels": [[-100] * len(prompt) + answer for prompt, answer in pairs],
        }

    started = time.perf_counter()
    table = datasets.load_dataset("json", data_files=str(rows), split="train", cache_dir=str(scratch))
    mapped = table.map(encode, batched=True, remove_columns=table.column_names, num_proc=processes)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "tokens": sum(len(ids) for ids in mapped["input_ids"])}


if __name__ == "__main__":
    main()
