"""Measure how full packs are on real rows, by the dial and the size of a pack.

    python bench/packing/measure.py --tokenizer FOLDER --rows ROWS.jsonl [--rows ...] --json bench/packing/fill.json

Fill is tokens of rows over tokens of packs, the last pack of an epoch included. Lengths are those of the text of a row: all its
strings, end to end, and two tokens more.
"""

import argparse
import json
import platform
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from luthier.config.recipe import Recipe
from luthier.tokens.lengths import KnownLengths
from luthier.tokens.row_order import RowOrder

MAX_LENGTHS = (512, 2048)
EDGE_TOKENS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how full packs are.")
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--rows", type=Path, action="append", required=True)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(arguments.tokenizer / "tokenizer.json"))
    found = [measure(rows, tokenizer, most) for rows in arguments.rows for most in MAX_LENGTHS]
    names = " ".join(f"--rows {rows.name}" for rows in arguments.rows)
    result = {
        "command": f"python bench/packing/measure.py --tokenizer {arguments.tokenizer.name} {names}",
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in ("numpy", "tokenizers")},
        "sets": found,
    }
    print(json.dumps(result, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measure(rows: Path, tokenizer: Tokenizer, max_length: int) -> dict[str, Any]:
    """Fill of one set, cut at `max_length`, with both dials."""
    texts = ["\n".join(strings_of(json.loads(line))) for line in rows.read_text("utf-8").splitlines()]
    encoded = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    lengths = np.minimum([len(encoding) + EDGE_TOKENS for encoding in encoded], max_length)
    dials: dict[str, dict[str, Any]] = {
        "tokens_per_step 16,384": {"tokens_per_step": 16384},
        "tokens_per_step 131,072 in packs of 32,768": {"tokens_per_step": 131072, "pack_tokens": 32768},
        "4 x 2 rows": {"batch_size": 4, "gradient_accumulation_steps": 2},
        "8 x 8 rows": {"batch_size": 8, "gradient_accumulation_steps": 8},
    }
    fills = {}
    for name, train in dials.items():
        started = time.perf_counter()
        fills[name] = fill(lengths, max_length, train) | {"seconds": round(time.perf_counter() - started, 2)}
    return {
        "rows_file": rows.name,
        "rows": len(lengths),
        "tokens": int(lengths.sum()),
        "max_length": max_length,
        "mean_length": round(float(lengths.mean()), 1),
        "median_length": int(np.median(lengths)),
        "longest": int(lengths.max()),
        "fill": fills,
    }


def fill(lengths: np.ndarray, max_length: int, train: dict[str, Any]) -> dict[str, Any]:
    """Packs of one epoch, and the share of them that is rows."""
    recipe = Recipe.model_validate(
        {"model": {"name": "x"}, "data": {"max_length": max_length}, "train": {"epochs": 1, **train}}
    )
    order = RowOrder(KnownLengths(lengths), recipe)
    packs = [rows for number in range(order.total_steps) for rows in order.step(number).micro_batches]
    return {"packs": len(packs), "fill": round(int(lengths.sum()) / (len(packs) * recipe.pack_tokens()), 4)}


def strings_of(value: Any) -> list[str]:
    """Every string of a row, in order."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [text for each in inner for text in strings_of(each)]


if __name__ == "__main__":
    main()
