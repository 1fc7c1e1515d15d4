"""Open the training rows of a preparation, whichever way they were prepared.

Loads a tokenizer only for rows that are tokenized on the fly.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from luthier.config.recipe import Recipe
from luthier.encoding.encoder import RowEncoder
from luthier.encoding.ids import embeddings_of
from luthier.encoding.limit import applied_policy
from luthier.encoding.on_the_fly import OnTheFlyRows
from luthier.encoding.outcomes import Outcomes
from luthier.encoding.prepared_folder import PREPARATION_VERSION, TEXTS
from luthier.floor.log import Listener, Silent
from luthier.reports.data import DataReport
from luthier.text.render import Renderer, Template
from luthier.text.tokenizer import hash_tokenizer, load_tokenizer
from luthier.tokens.flat_files import damaged
from luthier.tokens.store import TokenStore
from luthier.tokens.text_store import TextStore

# As they were prepared: tokens that lie there, or texts.
PreparedRows = TokenStore | OnTheFlyRows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@contextmanager
def training_rows(
    recipe: Recipe, report: DataReport, *, outcomes: Path | None = None, listener: Listener | None = None
) -> Iterator[PreparedRows]:
    """The rows to train on; `outcomes` is where is kept what becomes of rows that are tokenized on the fly.

    Raises DataError (data-cache) if they are gone, damaged, or were prepared for another tokenizer or other settings.
    """
    if report.tokenization == "cached":
        yield TokenStore.open(Path(report.store) / "train")
        return
    texts = TextStore.open(Path(report.store) / TEXTS)
    tokenizer = load_tokenizer(Path(report.tokenizer))
    template: Template = report.template  # type: ignore[assignment]
    if texts.made_for != made_for(recipe, template, tokenizer):
        raise damaged(texts.folder, "it was made for another tokenizer, template or length")
    encoder = make_encoder(recipe, texts, template, tokenizer, tokenizer_folder=Path(report.tokenizer))
    kept = Outcomes(texts.rows, path=outcomes, fingerprint=texts.fingerprint)
    with OnTheFlyRows(encoder, kept, longest=recipe.data.max_length, listener=listener or Silent()) as rows:
        yield rows


def make_encoder(
    recipe: Recipe,
    texts: TextStore,
    template: Template,
    tokenizer: "PreTrainedTokenizerBase",
    *,
    tokenizer_folder: Path,
) -> RowEncoder:
    """What tokenizes the rows of a text store as the recipe says."""
    embeddings = embeddings_of(recipe, tokenizer_folder)
    renderer = Renderer(tokenizer, template=template, train_on=recipe.data.train_on)
    return RowEncoder(texts, renderer, recipe.data, embeddings=embeddings)


def made_for(
    recipe: Recipe, template: Template, tokenizer: "PreTrainedTokenizerBase"
) -> dict[str, str | int]:
    """All that decides which tokens a row of text becomes."""
    data = recipe.data
    return {
        "version": PREPARATION_VERSION,
        "tokenizer": hash_tokenizer(tokenizer),
        "template": template,
        "train_on": data.train_on,
        "max_length": data.max_length,
        "overlong": applied_policy(data.overlong),
    }
