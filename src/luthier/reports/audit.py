"""What `luthier audit verify` found."""

from pydantic import BaseModel, ConfigDict


class AuditReport(BaseModel):
    """Whether an audit log is the one that was written, as far as the file and its anchors can tell."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    file: str
    records: int
    """Records that follow from each other, counted from the first."""
    first_time: str | None
    last_time: str | None
    last_hash: str
    """With `records`, the anchor of the log as it is."""
    events: dict[str, int]
    """Records by event."""
    cuts: int
    """Lines that the end of a server cut off, each noted by the record behind it."""
    anchors: list[str]
    """The anchors that the log was held against, `RECORDS:HASH`."""
    broken_line: int | None
    """The first line that does not follow from the one before, counted from 1; null if there is none."""
    broken_why: str | None
