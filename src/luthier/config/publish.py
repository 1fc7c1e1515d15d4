"""Publishing on the Hugging Face hub: where to, under which licence, and what the model card says in the author's own words."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from luthier.config.base import CountOrZero, PathOrId, Section, Text, TextOrTexts


def _prose(value: str) -> str:
    """As the other texts of a recipe, but lines and tabs may be in it."""
    if any((ord(character) < 32 and character not in "\n\t") or ord(character) == 127 for character in value):
        raise ValueError("must not hold control characters")
    if any(0xD800 <= ord(character) <= 0xDFFF for character in value):
        raise ValueError("must be Unicode text")
    if "${" in value:
        raise ValueError("must not hold ${")
    return value


Prose = Annotated[str, AfterValidator(_prose), Field(min_length=1)]
# The form that huggingface_hub's validate_repo_id takes, with the owner, without which nobody can tell whose it is.
HubId = Annotated[Text, Field(pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$", max_length=96)]


class CardConfig(Section):
    """What the author says in the model card, as Markdown. What is left out is written from the run."""

    title: Text | None = None
    """The card's title; the repository's name unless given."""
    summary: Prose | None = None
    """What the model does, in a sentence or two."""
    uses: Prose | None = None
    """What it is meant for."""
    limits: Prose | None = None
    """What it cannot do and must not be used for; it comes before the limits that the run itself shows."""
    language: TextOrTexts = ()
    """Languages of the model, as ISO 639 codes such as en."""
    tags: TextOrTexts = ()
    """Tags on the hub, beside those that the run gives."""
    sample_rows: CountOrZero = 0
    """Held-out rows that the card shows with their answers. None unless asked for: they are your data."""


class PublishConfig(Section):
    """A model repository on the hub."""

    repo: HubId | None = None
    """The repository, OWNER/NAME."""
    what: Literal["auto", "adapter", "merged", "gguf"] = "auto"
    """What goes up: the adapter, the merged model, or the GGUF files. `auto` takes what the run trained: its adapter or its whole model."""
    private: bool = True
    """Whether a new repository is private. One that is there keeps what it is."""
    licence: Text | None = None
    """The licence of what is published, by the hub's name for it, such as apache-2.0."""
    licence_file: PathOrId | None = None
    """A file with the licence's text, which goes up as LICENSE. Some licences ask that a copy goes along."""
    base_model: HubId | None = None
    """The base on the hub, where the recipe names it by a folder: readers load the adapter over it."""
    base_licence: Text | None = None
    """The base's licence, where neither its folder nor its name tells."""
    data_licences: TextOrTexts = ()
    """The licences of the data: one for all, or one for each source in their order."""
    datasets: TextOrTexts = ()
    """Datasets of the hub that the rows come from, where the recipe names files."""
    acknowledged: TextOrTexts = ()
    """Objections that you have read and answer for: licences such as cc-by-sa-4.0, `unknown` for one that is not known, `no-comparison`."""
    others: Literal["keep", "delete"] = "keep"
    """What becomes of files of the repository that are not among those published."""
    card: CardConfig = CardConfig()
    """The author's words in the model card."""
