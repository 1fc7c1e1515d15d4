"""What happens to rows that repeat others, and to rows that give away what a model is measured by."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from luthier.config.base import Positive, Section, Texts

Likeness = Annotated[Positive, Field(ge=0.3, le=1)]


class DedupConfig(Section):
    """Leaving out rows that repeat others. The first of its kind stays, training rows before rows to validate on."""

    kind: Literal["off", "exact", "near", "semantic"] = "off"
    """`exact` leaves out rows that are the same but for white space; `near` also those that share most of their words; `semantic` also those that mean the same to a static embedding model."""
    threshold: Likeness = 0.8
    """The Jaccard of shared runs of three words from which two rows are near."""
    model: str | None = None
    """The folder of a model2vec model, or a hub id in the local cache, that `semantic` compares meanings by. It is never fetched."""
    similarity: Annotated[Positive, Field(ge=0.5, le=1)] = 0.95
    """The cosine of two rows' vectors from which they mean the same."""

    @model_validator(mode="after")
    def _has_a_model_if_meanings_count(self) -> "DedupConfig":
        if (self.kind == "semantic") != (self.model is not None):
            raise ValueError("kind: semantic and model go together: name a model2vec folder with it")
        return self


class LeaksConfig(Section):
    """Looking for questions that a model is measured by in the rows it is trained on."""

    suites: Texts = ()
    """Files or folders of benchmark suites or test sets."""
    validation: bool = False
    """Whether training rows are compared with the rows to validate on as well."""
    found: Literal["warn", "refuse", "drop"] = "warn"
    """What a leak comes to: a warning, the end of the preparation, or rows left out of training."""
    threshold: Likeness | None = 0.8
    """The Jaccard from which two questions are near; null looks for the same questions and shared runs of 13 words only."""
