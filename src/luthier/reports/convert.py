"""What a conversion leaves beside its rows."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from luthier.reports.base import Report


class LedgerCounts(BaseModel):
    """The books of one kind of thing: came_in = kept + the sum of dropped."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    came_in: int
    kept: int
    dropped: dict[str, int]


class ConvertReport(Report):
    """What was read, what came of it, and what was left out."""

    source: str
    """The place that was named."""
    files: dict[str, str]
    """Every file read, with its SHA-256."""
    dialect: str
    format: str
    """`messages`, `prompt_completion` or `text`: what the rows are."""
    options: dict[str, Any]
    """What the person asked to have kept."""
    output: str
    """The file of the rows."""
    output_sha256: str | None
    """Hash of the rows; null where nothing was written."""
    rows: int
    conversations: LedgerCounts
    """Records: a conversation is kept if a row came of it."""
    threads: LedgerCounts
    """Paths through the conversations: each one kept is a row."""
    messages: LedgerCounts
    """Messages: one is kept if a row holds its text."""
    notes: dict[str, int]
    """What was changed or left out inside messages that were kept."""
    sample: list[dict[str, Any]]
    """The first rows."""
