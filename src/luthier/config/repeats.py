"""What happens to rows that repeat others, and to rows that give away what a model is measured by."""

from typing import Annotated, Literal

from pydantic import Field

from luthier.config.base import Positive, Section, Texts

Likeness = Annotated[Positive, Field(ge=0.3, le=1)]


class DedupConfig(Section):
    """Leaving out rows that repeat others. The first of its kind stays, training rows before rows to validate on."""

    kind: Literal["off", "exact", "near"] = "off"
    """`exact` leaves out rows that are the same but for white space; `near` also those that share most of their words."""
    threshold: Likeness = 0.8
    """The Jaccard of shared runs of three words from which two rows are near."""


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
