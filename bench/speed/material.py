"""What contenders work on: a base model and a file of rows as tokens, made once a scratch folder and the same for all of them.

Made-up rows have lengths of a log-normal of median 150 tokens, cut, and the first 35 % of a row is a prompt without loss: what
instruction data look like. Real rows are tokenized by `luthier prepare`, so that everyone trains on the same ids.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

MEDIAN_TOKENS, LENGTH_SPREAD, LEAST_TOKENS, PROMPT_SHARE = 150, 0.8, 24, 0.35
# Ids below are special in one tokenizer or another; 0 pads.
FIRST_ID = 10
PROMPT_TOKENS = (16, 256)
IGNORED = -100


def make_base(task: dict[str, Any]) -> dict[str, Any]:
    """The base of a row in the scratch folder; the embedded base is copied from where it lies."""
    folder, shape = Path(task["base"]), task["workload"]["shape"]
    if not (folder / "config.json").is_file():
        temporary = folder.with_name(f".{folder.name}")
        shutil.rmtree(temporary, ignore_errors=True)
        if shape == "embedded":
            from luthier.knowledge.model_folder import EMBEDDED, find_model

            shutil.copytree(find_model(EMBEDDED), temporary)
        else:
            import torch

            from luthier.floor.log import Silent
            from luthier.knowledge.shapes import SHAPES
            from luthier.modelling.device import choose_device
            from luthier.modelling.random_base import write_random_base

            device = choose_device("auto")
            dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
            write_random_base(temporary, SHAPES[shape], dtype=dtype, device=device, listener=Silent())
        os.rename(temporary, folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    return {"config": {name: config.get(name) for name in CONFIG_FIELDS}}


CONFIG_FIELDS = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "vocab_size",
)  # fmt: skip


def make_rows(task: dict[str, Any]) -> dict[str, Any]:
    """The rows of a workload in `task["rows"]`, one JSON object a line: input_ids, labels; and what they amount to."""
    path, workload = Path(task["rows"]), task["workload"]
    if workload["kind"] == "generate":
        rows = drawn_prompts(workload, vocabulary_of(task))
    elif workload["data"] == "drawn":
        rows = drawn_rows(workload, vocabulary_of(task), task["tokens"])
    else:
        rows = prepared_rows(task, most_tokens=task["tokens"])
    lengths = []
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")
            lengths.append(len(row["input_ids"]))
    if not lengths:
        raise ValueError(f"{workload['data']} has no row to train on")
    return {
        "rows": len(lengths),
        "tokens": sum(lengths),
        "median_tokens": int(np.median(lengths)),
        "longest_tokens": max(lengths),
    }


def vocabulary_of(task: dict[str, Any]) -> int:
    """Ids that the model and its tokenizer both have: Luthier refuses rows with others."""
    from tokenizers import Tokenizer

    base = Path(task["base"])
    config = json.loads((base / "config.json").read_text("utf-8"))
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    return int(min(config["vocab_size"], tokenizer.get_vocab_size()))


def drawn_rows(workload: dict[str, Any], vocabulary: int, most_tokens: int) -> Iterator[dict[str, list[int]]]:
    """Rows of drawn ids until there are `most_tokens` tokens, the same ones at every call."""
    generator = np.random.default_rng(7)
    written = 0
    while written < most_tokens:
        length = workload["row_tokens"] or int(
            np.clip(
                generator.lognormal(np.log(MEDIAN_TOKENS), LENGTH_SPREAD), LEAST_TOKENS, workload["longest"]
            )
        )
        ids = generator.integers(FIRST_ID, vocabulary - 8, size=length).tolist()
        yield labelled(ids, prompt=int(length * PROMPT_SHARE))
        written += length


def drawn_prompts(workload: dict[str, Any], vocabulary: int) -> Iterator[dict[str, list[int]]]:
    """Prompts of 16 to 256 tokens; the one token behind each carries loss, so that Luthier knows where the prompt ends."""
    generator = np.random.default_rng(3)
    for _ in range(workload["prompts"]):
        length = int(generator.integers(*PROMPT_TOKENS))
        ids = generator.integers(FIRST_ID, vocabulary - 8, size=length + 1).tolist()
        yield labelled(ids, prompt=length)


def labelled(ids: list[int], *, prompt: int) -> dict[str, list[int]]:
    """A row whose first `prompt` tokens carry no loss."""
    return {"input_ids": ids, "labels": [IGNORED] * prompt + ids[prompt:]}


def prepared_rows(task: dict[str, Any], *, most_tokens: int) -> Iterator[dict[str, list[int]]]:
    """Rows of the demo, or of a file that was named, as `luthier prepare` makes them."""
    from luthier.tokens.store import TokenStore
    from speed.luthier_program import run_luthier

    workload, scratch = task["workload"], Path(task["scratch"])
    source = {"demo": task["demo"]}.get(workload["data"], workload["data"])
    run = scratch / "prepared"
    shutil.rmtree(run, ignore_errors=True)
    recipe = scratch / "prepare.yaml"
    recipe.write_text(
        json.dumps(
            {
                "model": {"name": task["base"]},
                "data": {
                    "path": source,
                    "max_length": workload["longest"],
                    "overlong": "truncate",
                    "validation_fraction": 0,
                    "cache_path": str(scratch / "cache"),
                },
                "method": {"kind": "lora"},
                "train": {"epochs": 1},
            }
        )
    )
    run_luthier(["prepare", str(recipe), "--run", str(run), "--json"], folder=scratch)
    report = json.loads((run / "data" / "report.json").read_text("utf-8"))
    store = TokenStore.open(Path(report["store"]) / "train")
    written = 0
    for row in range(store.rows):
        ids, trained = store.ids(row).tolist(), store.trained(row).tolist()
        yield {
            "input_ids": ids,
            "labels": [token if learnt else IGNORED for token, learnt in zip(ids, trained, strict=True)],
        }
        written += len(ids)
        if written >= most_tokens:
            return


def read_rows(path: Path) -> list[dict[str, list[int]]]:
    """What make_rows wrote."""
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]
