"""Runs made by hand for the tests of training: a token store of random rows, a data report, a recipe."""

from pathlib import Path
from typing import Any

import numpy as np

from luthier.config.recipe import Recipe
from luthier.floor.rundir import RunDir
from luthier.reports.data import DataReport, SplitCounts
from luthier.reports.provenance import gather_provenance
from luthier.tokens.store import StoreWriter, TokenStore
from tests.ledgers import ledger_of

Rows = list[tuple[list[int], list[bool]]]


def random_rows(
    count: int, *, seed: int = 0, vocabulary: int = 290, shortest: int = 6, longest: int = 40
) -> Rows:
    """Rows of random ids whose first part is a prompt without loss."""
    generator = np.random.default_rng(seed)
    rows: Rows = []
    for _ in range(count):
        length = int(generator.integers(shortest, longest + 1))
        prompt = int(generator.integers(1, length - 1))
        ids = [int(token) for token in generator.integers(0, vocabulary, size=length)]
        rows.append((ids, [False] * prompt + [True] * (length - prompt)))
    return rows


def write_store(folder: Path, rows: Rows, source: str) -> SplitCounts:
    """A token store of these rows, and its books."""
    with StoreWriter(folder, vocabulary_size=300) as writer:
        for number, (ids, trained) in enumerate(rows):
            writer.append(ids, trained, f"{source}:{number + 1}")
    store = TokenStore.open(folder)
    return SplitCounts(
        rows_in=len(rows),
        rows_kept=len(rows),
        rows_added_by_splitting=0,
        rows_truncated=0,
        dropped={},
        tokens=store.tokens,
        trained_tokens=store.trained_tokens,
        trained_tokens_lost=0,
        longest_row_tokens=int(store.lengths_N.max()),
        fingerprint=store.fingerprint,
    )


def make_recipe(base: Path, **sections: Any) -> Recipe:
    """A small recipe over `base`; sections override its parts."""
    train = {"epochs": 2, "lr": 1e-3, "seed": 5, **sections.pop("train", {})}
    train["log"] = {"logging_steps": 1, "trackers": [], **train.get("log", {})}
    method = {"kind": "lora", "rank": 8, "alpha": 16, "dropout": 0.0, **sections.pop("method", {})}
    model = {"name": str(base), "device": "cpu", **sections.pop("model", {})}
    return Recipe.model_validate(
        {"model": model, "data": {"max_length": 64}, "method": method, "train": train, **sections}
    )


def make_run(folder: Path, base: Path, *, rows: Rows, validation: Rows | None = None) -> RunDir:
    """A run whose data stage is done."""
    run = RunDir(folder)
    folder.mkdir(parents=True, exist_ok=True)
    store = folder / "store"
    train = write_store(store / "train", rows, "data/train.jsonl")
    checked = write_store(store / "validation", validation, "data/validation.jsonl") if validation else None
    report = DataReport(
        inputs_hash="by-hand",
        seconds=0.0,
        provenance=gather_provenance(),
        store=str(store),
        tokenizer=str(base),
        template="guide",
        format="prompt_completion",
        files={},
        train=train,
        validation=checked,
        was_cached=False,
        ledger=ledger_of(train, checked),
        dropped_file=str(store / "dropped.jsonl"),
    )
    report.write(run.report("data"))
    return run


def logged_losses(run: RunDir) -> list[float]:
    """The training losses in metrics.jsonl, in order."""
    import json

    entries = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return [entry["loss"] for entry in entries if "loss" in entry]
