"""How files of rows were split."""

from pydantic import BaseModel, ConfigDict

from luthier.reports.base import Report


class SideCounts(BaseModel):
    """One side of a split."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    rows: int
    share_asked: float
    share: float
    file: str | None
    """Where its rows lie; null if nothing was written or no row is there."""


class SplitReport(Report):
    """The books: rows_in is the sum of the rows of all sides."""

    files: dict[str, str]
    """Every file read, with its SHA-256."""
    seed: int
    group_by: str | None
    stratify_by: str | None
    rows_in: int
    keys: int
    """Different groups or, without them, different questions; none is on two sides."""
    sides: dict[str, SideCounts]
    """By name: train, validation, test."""
    strata: dict[str, dict[str, int]]
    """Rows of each side by stratum, the largest fifty; empty if there are none."""
