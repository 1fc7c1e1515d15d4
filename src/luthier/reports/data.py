"""What the data stage leaves for training and evaluation."""

from pydantic import BaseModel, ConfigDict, Field

from luthier.reports.base import Report
from luthier.reports.leaks import LeakFindings
from luthier.reports.ledger import StageBooks


class SplitCounts(BaseModel):
    """The books of one split: rows_in = rows_kept + the sum of dropped (split rows add to rows_kept and to rows_added)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows_in: int
    rows_kept: int
    rows_added_by_splitting: int
    rows_truncated: int
    dropped: dict[str, int]
    tokens: int
    trained_tokens: int
    trained_tokens_lost: int
    longest_row_tokens: int
    fingerprint: str
    """Hash of the ids and masks of every row, in order."""


class FilterCounts(BaseModel):
    """What one filter of the cleaning did."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows_edited: int
    texts_edited: int
    """A row may hold several texts."""
    characters_removed: int
    """Below zero where the edits made texts longer."""
    dropped: dict[str, int]
    """Rows left out, by reason."""
    found: dict[str, int]
    """What was seen, by kind, whatever became of it."""


class CleaningCounts(BaseModel):
    """The books of the cleaning: rows_in = rows_kept + the sum of what the filters dropped; rows_kept go on to the splits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows_in: int
    rows_kept: int
    rows_edited: int
    """Of the rows kept."""
    filters: dict[str, FilterCounts]


class SourceCounts(BaseModel):
    """The books of one source: rows_in + rows_repeated = rows_not_drawn + the rows that went on to the splits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: float
    """How often each row is seen in an epoch."""
    files: int
    rows_in: int
    """Rows read, each once, that cleaning kept."""
    rows_not_drawn: int
    """Rows left out by a weight below 1."""
    rows_repeated: int
    """Copies beyond the first."""
    train_rows: int
    """Rows in the training store."""
    train_tokens: int
    train_trained_tokens: int
    token_share: float
    """Of the training tokens of all sources."""


class DataReport(Report):
    """Prepared tokens: where, how many, what was left out."""

    store: str
    """The folder with the token stores `train` and, if there are rows, `validation`."""
    tokenizer: str
    """A folder from which the tokenizer that made the tokens can be loaded."""
    template: str
    """`guide`, `chat` or `guide_chat`."""
    format: str
    files: dict[str, str]
    """Every file read, with its SHA-256."""
    train: SplitCounts
    validation: SplitCounts | None
    was_cached: bool
    ledger: list[StageBooks]
    """Every stage with what came in, what was kept and what was dropped; see check_ledger."""
    dropped_file: str
    """JSON lines: every row that a stage left out, with its reason and its origin."""
    cleaning: CleaningCounts | None = None
    """What was edited and left out before the split; None if no filter is on."""
    leaks: LeakFindings | None = None
    """Questions of suites or validation rows in training rows; None if none were looked for."""
    sources: dict[str, SourceCounts] = Field(default_factory=dict)
    """What each source gave, by its name."""
    unused_fields: dict[str, int] = Field(default_factory=dict)
    """Fields that the rows carry and the format does not use, each with its number of rows."""


class TokensGuessed(BaseModel):
    """What rows would come to, from some that the seed drew."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    rows_drawn: int
    """So many were tokenized."""
    tokens: int
    trained_tokens: int
    rows_too_long: int
    """Rows beyond data.max_length."""


class PreparePlan(BaseModel):
    """What a preparation would read, do and write; nothing was written."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    files: dict[str, int]
    """Every file, with its bytes."""
    format: str
    template: str
    tokenizer: str | None
    """Its folder; null if it would be trained on the rows."""
    rows: int
    """Rows to train on, those included that would be set apart."""
    validation_rows: int | None
    """Rows of data.validation_path; null if it names none."""
    steps: list[str]
    """What would be done with them, in order."""
    guessed: TokensGuessed | None
    """Of all rows as they are read; null without a tokenizer."""
    store: str
    """The folder of the tokens."""
    is_prepared: bool
    """Whether it is there already: then nothing would be tokenized."""
