"""What a deduplication found and what it left out."""

from pydantic import BaseModel, ConfigDict

from luthier.reports.base import Report


class Cluster(BaseModel):
    """Rows of which the first stays."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    row: str
    """`file:line` of the row that stays."""
    rows_dropped: int
    lowest_jaccard: float
    text: str
    """Its text, cut."""


class RepeatedPair(BaseModel):
    """A dropped row beside the row that it repeats."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    """`exact`, `near`, `against-exact`, `against-near` or `semantic`."""
    measure: str = "jaccard"
    """What `jaccard` holds: `jaccard`, or `cosine` where a row went by its meaning."""
    jaccard: float
    row: str
    text: str
    repeats: str
    repeated_text: str
    via: str | None
    """The dropped row that it is an exact copy of, where that one went too."""


class PromptCounts(BaseModel):
    """Prompts that come more than once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repeated: int
    """Rows whose prompt stood in an earlier row."""
    conflicting: int
    """Prompts with more than one answer."""


class DedupReport(Report):
    """The books: rows_in = rows_kept + the sum of dropped."""

    files: dict[str, str]
    """Every file read, with its SHA-256."""
    against: list[str]
    """The files among them that were only compared with."""
    threshold: float | None
    """The Jaccard at which rows are near; null if only exact repeats were looked for."""
    engine: str | None
    """The library that made the signatures."""
    bands: int
    rows_per_band: int
    semantic_model: str | None = None
    """The static embedding model that meanings were compared by."""
    similarity: float | None = None
    """The cosine from which a row went by its meaning."""
    rows_in: int
    rows_against: int
    rows_kept: int
    dropped: dict[str, int]
    prompts_as_written: PromptCounts
    prompts_folded: PromptCounts
    conflicts_kept: int
    """Kept prompts, folded, that have more than one answer: listed, none of their rows dropped as near."""
    pairs_compared: int
    """Pairs whose Jaccard was worked out."""
    pairs_confirmed: int
    spilled_bytes: int
    largest_clusters: list[Cluster]
    pairs: list[RepeatedPair]
    """Some of the dropped rows, as many as were asked for."""
    out: str | None
    """The kept rows; null if nothing was written."""
    dropped_file: str | None
    conflicts_file: str | None
