"""What both measurements stand on: a temporary folder, a recipe or a shape, made-up rows, and the machine's own limit."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.cli.choose import split_words
from luthier.cli.output import tell
from luthier.cli.screen import Screen
from luthier.floor.errors import Interrupted, SavedAndStopped, UsageError
from luthier.floor.files import disk_faults, write_text
from luthier.floor.rundir import RunDir

if TYPE_CHECKING:
    from luthier.config.recipe import Recipe

REPEAT = "Nothing of it is kept. Repeat the command."
# Lengths of made-up rows: those of the bench of the peers, a log-normal of median 150 cut at 1,024, the first 35 % a prompt.
MEDIAN_TOKENS, LENGTH_SPREAD, LONGEST_TOKENS, PROMPT_SHARE = 150, 0.8, 1024, 0.35


class Ground:
    """A temporary folder with everything that a measurement writes."""

    def __init__(self, folder: Path, screen: Screen) -> None:
        self.folder, self.screen = folder, screen
        self.run = RunDir(folder / "run")
        self.run.logs.mkdir(parents=True)
        self.shape: str | None = None

    def recipe_of(self, words: Sequence[str] | None, shape: str | None, made_up: dict[str, Any]) -> "Recipe":
        """The recipe that was named, or one over random weights in the shape, with the settings of the command line.

        `made_up` says how many packs of rows are written for the second.
        Raises UsageError if both a recipe and a shape were named.
        """
        from luthier.config.compose import load_recipe

        name, overrides = split_words(words)
        if name is not None and shape is not None:
            raise UsageError(
                "usage",
                f"the recipe {name} names a model, and --shape {shape} another",
                where="the command line",
                fix="Keep one of them.",
            )
        if name is None:
            name = str(self._write_recipe(overrides, shape, made_up))
        resolved = load_recipe(name, overrides)
        for warning in resolved.warnings:
            tell(f"warning: {warning}")
        return resolved.recipe

    def _write_recipe(self, overrides: Sequence[str], shape: str | None, made_up: dict[str, Any]) -> Path:
        import yaml

        from luthier.knowledge.model_folder import EMBEDDED, check_model_folder, find_model
        from luthier.knowledge.shapes import PACK_TOKENS, SHAPES, default_shape
        from luthier.modelling.device import choose_device, choose_precision
        from luthier.modelling.matmul_speed import free_gpu_bytes
        from luthier.modelling.random_base import write_random_base

        wanted = [word.partition("=")[2] for word in overrides if word.startswith("model.device=")]
        device = choose_device(wanted[-1] if wanted else "auto")
        self.shape = shape or default_shape(free_gpu_bytes(device))
        self.screen.say(f"random weights in the shape {self.shape}, made-up rows")
        write_random_base(
            self.folder / self.shape,
            SHAPES[self.shape],
            dtype=choose_precision("auto", device).dtype,
            device=device,
            listener=self.screen,
        )
        pack_tokens = PACK_TOKENS[self.shape]
        # The tokenizer is the embedded base's; which ids are looked up changes no arithmetic.
        ids = check_model_folder(find_model(EMBEDDED)).config["vocab_size"]
        self._write_rows(made_up["packs"] * pack_tokens, min(ids, SHAPES[self.shape]["vocab_size"]))
        tree = {
            "model": {"name": str(self.folder / self.shape)},
            "data": {"path": str(self.folder / "rows.jsonl"), "format": "tokens", "max_length": 1024},
            "method": {"kind": "lora", "dropout": 0.0},
            "train": {"tokens_per_step": pack_tokens, "pack_tokens": pack_tokens, "lr": 1e-5},
        }
        path = self.folder / "bench.yaml"
        write_text(path, yaml.safe_dump(tree, sort_keys=False))
        return path

    def _write_rows(self, tokens: int, vocabulary: int) -> None:
        import json

        import numpy as np

        generator = np.random.default_rng(0)
        with disk_faults(self.folder), open(self.folder / "rows.jsonl", "w", encoding="utf-8") as file:
            while tokens > 0:
                drawn = generator.lognormal(np.log(MEDIAN_TOKENS), LENGTH_SPREAD)
                length = int(np.clip(drawn, 8, LONGEST_TOKENS))
                ids = generator.integers(1, vocabulary, size=length).tolist()
                prompt = int(length * PROMPT_SHARE)
                row = {"input_ids": ids, "labels": [-100] * prompt + ids[prompt:]}
                file.write(json.dumps(row) + "\n")
                tokens -= length

    def own(self, recipe: "Recipe") -> "Recipe":
        """The recipe with its cache here: tokens that are prepared already are found, and nothing is added to theirs."""
        cache = self.folder / "cache"
        cache.mkdir()
        theirs = Path(recipe.data.cache_path)
        if theirs.is_dir():
            for entry in theirs.iterdir():
                if entry.is_dir() and not entry.name.startswith("."):
                    os.symlink(entry.resolve(), cache / entry.name)
        data = recipe.data.model_copy(update={"cache_path": str(cache)})
        return recipe.model_copy(update={"data": data})


@contextmanager
def bench_ground() -> Iterator[Ground]:
    """A ground that is gone afterwards, however the measurement ends."""
    with tempfile.TemporaryDirectory(prefix="luthier-bench-", ignore_cleanup_errors=True) as folder:
        try:
            yield Ground(Path(folder), Screen())
        except (SavedAndStopped, Interrupted) as fault:
            raise type(fault)(fault.code, "the measurement was stopped", fix=REPEAT) from fault


def model_name(recipe: "Recipe", ground: Ground) -> str:
    """The base as people know it: the shape where the weights are random."""
    if ground.shape is not None:
        return f"{ground.shape} (random weights)"
    return recipe.model.name or "scratch"
