"""What the data stage leaves for training and evaluation."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from luthier.floor.units import count_of
from luthier.reports.base import Report
from luthier.reports.leaks import LeakFindings
from luthier.reports.ledger import StageBooks


class SplitCounts(BaseModel):
    """The books of one split: rows_in = rows_kept + the sum of dropped (split rows add to rows_kept and to rows_added).

    What only tokens tell is None where rows are tokenized on the fly: the report of the training has it. rows_kept are those
    handed to training then.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows_in: int
    rows_kept: int
    rows_added_by_splitting: int
    rows_truncated: int | None
    dropped: dict[str, int]
    tokens: int | None
    trained_tokens: int | None
    trained_tokens_lost: int | None
    longest_row_tokens: int | None
    fingerprint: str
    """Hash of the ids and masks of every row, in order; on the fly of the texts and of all that decides their tokens."""


def rows_and_tokens(counts: SplitCounts) -> str:
    """`4,862 rows, 300,000 tokens, 120,000 of them trained`; rows that are tokenized on the fly have no tokens yet."""
    rows = count_of(counts.rows_kept, "row")
    if counts.tokens is None:
        return f"{rows}, tokenized as training reaches them"
    return f"{rows}, {count_of(counts.tokens, 'token')}, {counts.trained_tokens:,} of them trained"


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
    train_tokens: int | None
    """None where rows are tokenized on the fly; so are the next two."""
    train_trained_tokens: int | None
    token_share: float | None
    """Of the training tokens of all sources."""


class DataReport(Report):
    """Prepared tokens: where, how many, what was left out."""

    store: str
    """The folder with the token stores `train` and, if there are rows, `validation`; on the fly `train-texts` for `train`."""
    tokenization: Literal["cached", "on_the_fly"] = "cached"
    """When training rows become tokens."""
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
    """The folder of the tokens, or of the texts."""
    tokenization: Literal["cached", "on_the_fly"]
    """When training rows would become tokens."""
    is_prepared: bool
    """Whether it is there already: then nothing would be tokenized."""
