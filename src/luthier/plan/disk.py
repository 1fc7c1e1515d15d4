"""What the run writes, at most at one time, and what must be fetched first."""

from luthier.config.method import LoraMethod
from luthier.config.recipe import Recipe
from luthier.floor.files import free_bytes
from luthier.floor.rundir import RUNS
from luthier.knowledge.training_memory import MOMENTS_8BIT_BYTES, MOMENTS_BYTES, trained_numbers
from luthier.plan.model import PlannedModel
from luthier.reports.plan import Disk, Item, Tokens

# Of a prepared token: its id, and whether it carries loss (tokens/store.py).
STORED_TOKEN_BYTES = 5
TOKENIZER_BYTES = 12 * 2**20
LOG_BYTES_A_STEP, LOG_BYTES = 400, 2**20
NUMBER_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}


def disk_of(model: PlannedModel, recipe: Recipe, tokens: Tokens) -> Disk:
    """Tokens, checkpoints, the result and its merge."""
    items = [item for item in _items(model, recipe, tokens) if item.bytes]
    return Disk(
        bytes=sum(item.bytes for item in items),
        free_bytes=free_bytes(RUNS.absolute()),
        items=tuple(items),
        download_bytes=0 if model.is_here else model.stored_bytes,
    )


def _items(model: PlannedModel, recipe: Recipe, tokens: Tokens) -> list[Item]:
    is_adapted = isinstance(recipe.method, LoraMethod)
    trained = trained_numbers(model.shape, recipe) if is_adapted else model.parameters
    moments = MOMENTS_8BIT_BYTES if recipe.train.optimizer.name == "adamw_8bit" else MOMENTS_BYTES
    checkpoint = trained * (4 + moments)
    kept = recipe.train.checkpoint
    # A new one is whole before an old one goes.
    copies = kept.keep_last + kept.keep_best + 1
    steps = tokens.steps or 0
    found = [
        Item(
            name="prepared tokens",
            bytes=(tokens.epoch_tokens or 0) * STORED_TOKEN_BYTES,
            how=f"{tokens.epoch_tokens or 0:,} tokens x {STORED_TOKEN_BYTES} bytes",
        ),
        Item(
            name="checkpoints",
            bytes=checkpoint * copies,
            how=f"{copies} x {trained:,} trained x {4 + moments} bytes (weights and moments): {kept.keep_last} newest, {kept.keep_best} best, one being written",
        ),
        Item(
            name="adapter" if is_adapted else "model",
            bytes=trained * 4 + TOKENIZER_BYTES,
            how=f"{trained:,} numbers x 4 bytes, and the tokenizer",
        ),
        Item(
            name="logs",
            bytes=LOG_BYTES + steps * LOG_BYTES_A_STEP // max(1, recipe.train.log.logging_steps),
            how="metrics and event files",
        ),
    ]
    if is_adapted:
        size = NUMBER_BYTES.get(recipe.merge.dtype)
        merged = model.parameters * size if size else model.stored_bytes
        how = f"{model.parameters:,} numbers x {size} bytes" if size else "as large as the base's own files"
        found.append(Item(name="merged model", bytes=merged + TOKENIZER_BYTES, how=how))
    return found
