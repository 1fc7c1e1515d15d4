"""What publishing leaves: what went up, and that the hub holds it; and what its dry run says."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from luthier.reports.base import Report

Kind = Literal["adapter", "merged", "gguf"]


class PublishedFile(BaseModel):
    """One file of the repository."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    path: str
    """In the repository."""
    bytes: int
    sha256: str
    rewritten: list[str]
    """What the uploaded copy says otherwise than the run's file, such as a path of the machine; empty for a file as it is."""


class Objection(BaseModel):
    """Something that stands against publishing."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    word: str
    """The fault word."""
    what: str
    fix: str
    """The line that resolves it."""


class PublishPlan(BaseModel):
    """What would go up; nothing was sent and the hub was not asked."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    repo: str | None
    private: bool
    what: Kind
    files: list[PublishedFile]
    bytes: int
    card: str
    """Where the card lies for reading."""
    left_here: list[str]
    """Files beside them that are not published."""
    objections: list[Objection]
    """Empty if it may go up."""


class PublishReport(Report):
    """Files that the hub was seen to hold, each with its size and SHA-256."""

    repo: str
    url: str
    revision: str
    """The commit that holds the files."""
    private: bool
    what: Kind
    commits: int
    """Commits that this command made: 1, or 0 if the repository held every file already."""
    files: list[PublishedFile]
    bytes: int
    bytes_sent: int
    """Bytes of request bodies that went out, those that were sent again included."""
    files_kept: list[str]
    """Files of the repository that are not among those published."""
    files_deleted: list[str]
    acknowledged: list[str]
    """Objections that the recipe answers for."""
