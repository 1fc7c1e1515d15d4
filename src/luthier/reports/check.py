"""What a check of data found, and what a repair did with it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Severity = Literal["error", "warning", "note"]


class Finding(BaseModel):
    """One thing to know about one line."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    line: int
    """Counted from 1; of a record that spans lines, the first."""
    kind: str
    severity: Severity
    message: str
    """What is wrong, with the value."""
    fix: str
    """What to do about it."""


class RepairBooks(BaseModel):
    """The books of a repair: rows_in = rows_kept + the sum of dropped."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows_in: int
    rows_kept: int
    rows_edited: int
    """Kept rows that are not as they were."""
    edits: dict[str, int]
    """Edits by kind; a row may have several."""
    dropped: dict[str, int]
    """Rows left out, by kind."""
    files: dict[str, str]
    """Every file read, and its repaired copy."""
    ledger: str
    """The file that lists every edit and every drop."""


class CheckReport(BaseModel):
    """What `luthier data check --json` prints."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int
    """Rows read, broken ones counted."""
    findings: list[Finding]
    counts: dict[str, int]
    """Findings by kind."""
    repair: RepairBooks | None = None
    """Only with `--fix`."""
