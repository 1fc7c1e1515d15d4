"""What training leaves for evaluation and merging."""

from pydantic import BaseModel, ConfigDict, Field

from luthier.reports.base import Report
from luthier.reports.ledger import StageBooks


class BestCheckpoint(BaseModel):
    """A checkpoint and its validation loss."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int
    validation_loss: float


class TrainReport(Report):
    """A finished training."""

    method: str
    steps: int
    epochs: float
    rows_seen: int
    tokens_seen: int
    trained_tokens_seen: int
    parameters_total: int
    parameters_trained: int
    precision: str
    attention: str
    first_loss: float
    final_loss: float
    """Mean of the last logged losses, nats a trained token."""
    validation_loss: float | None
    best: BestCheckpoint | None
    stopped_early: bool
    tokens_per_second: float
    peak_bytes: int
    """Peak of device memory, or of the process on a CPU."""
    resumed_from_steps: tuple[int, ...]
    base: str
    """The base model as the recipe names it."""
    base_fingerprint: str
    """Hash of the base's config and weights' headers, so that a merge can refuse another base."""
    ledger: list[StageBooks] = Field(default_factory=list)
    """What became of the training rows when they were tokenized on the fly, counted as training went; empty where the data
    report has it."""
    dropped_file: str | None = None
    """JSON lines: the rows of that ledger that were left out or lost tokens."""
