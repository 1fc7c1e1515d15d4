"""Whether the ids that a tokenizer gives are known to the base model."""

from pathlib import Path

from luthier.config.method import ScratchMethod
from luthier.config.recipe import Recipe
from luthier.floor.errors import ModelError
from luthier.knowledge.model_folder import check_model_folder


def embeddings_of(recipe: Recipe, tokenizer_folder: Path) -> int | None:
    """How many ids the base model knows; None if the model is made for the tokenizer, or does not say."""
    if isinstance(recipe.method, ScratchMethod):
        return None
    embeddings = check_model_folder(tokenizer_folder).config.get("vocab_size")
    return embeddings if isinstance(embeddings, int) else None


def check_largest_id(largest_id: int, embeddings: int | None, *, where: str) -> None:
    """Raise ModelError (mdl-tokenizer) if rows hold an id for which the base model has no embedding."""
    if embeddings is not None and largest_id >= embeddings:
        raise ModelError(
            "mdl-tokenizer",
            f"the tokenizer gives the id {largest_id}, and the model has embeddings for {embeddings} ids",
            where=where,
            fix="Use the tokenizer that was published with the model.",
        )
