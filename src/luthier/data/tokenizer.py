"""The tokenizer of a run: the base model's, a ready one, or one trained on the training rows."""

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

from luthier.config.method import ScratchMethod
from luthier.config.recipe import Recipe
from luthier.data.clean.presets import make_filters
from luthier.data.repeats import Repeats
from luthier.data.sides import cleaned_again, cleaned_validation, sides_of
from luthier.data.sources import Sources
from luthier.floor.files import disk_faults
from luthier.floor.log import Listener
from luthier.floor.stop import StopFlag
from luthier.knowledge.model_folder import check_model_folder, find_model
from luthier.text.rows import Row

ROWS_BETWEEN_LOOKS = 256


def find_tokenizer(recipe: Recipe) -> Path | None:
    """The folder of the tokenizer; None if it has to be trained. Raises ModelError if there is no such model."""
    if isinstance(recipe.method, ScratchMethod):
        return Path(recipe.method.tokenizer) if recipe.method.tokenizer else None
    assert recipe.model.name, "the recipe's validator asks for a name"
    folder = find_model(recipe.model.name, recipe.model.revision)
    check_model_folder(folder)
    return folder


def train_on_rows(
    recipe: Recipe, sources: Sources, folder: Path, *, listener: Listener, stop: StopFlag
) -> None:
    """Train a tokenizer on the training rows that stay, those for validation left out, and save it to `folder`.

    Repeats are looked for here and once more when the rows are written: their tokens are not known before.
    """
    from luthier.text.train_tokenizer import train_tokenizer

    assert isinstance(recipe.method, ScratchMethod)
    listener.say(f"data: training a tokenizer of {recipe.method.vocabulary_size} tokens on the rows")
    with ExitStack() as stack:
        repeats = None
        if recipe.data.dedup.kind != "off":
            repeats = stack.enter_context(Repeats(recipe.data.dedup, folder.parent, listener, stop))
        texts = _training_texts(recipe, sources, stop, repeats)
        tokenizer = train_tokenizer(texts, vocab_size=recipe.method.vocabulary_size)
    with disk_faults(folder):
        tokenizer.save_pretrained(folder)


def _training_texts(
    recipe: Recipe, sources: Sources, stop: StopFlag, repeats: Repeats | None = None
) -> Iterator[str]:
    filters = make_filters(recipe.data.clean)

    def kept() -> Iterator[Row]:
        for number, row in enumerate(cleaned_again(sources, filters, stop)):
            if repeats is None or repeats.is_kept(number):
                yield row

    if repeats:
        held_out = cleaned_validation(sources, filters, stop) if sources.validation else ()
        repeats.find(chain(cleaned_again(sources, filters, stop), held_out))
    splitter = sides_of(recipe.data, sources, kept(), seed=recipe.train.seed)
    for row in kept():
        if splitter.side(row) == "train":
            yield from texts_of(row)


def texts_of(row: Row) -> list[str]:
    """The texts that a row says, none of them empty."""
    return [text for text in row.texts() if text]
