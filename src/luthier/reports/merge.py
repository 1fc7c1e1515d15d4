"""What a merge leaves: the proof that the merged model answers as the adapter model did."""

from luthier.reports.base import Report


class MergeReport(Report):
    """A merged model that passed its check."""

    folder: str
    base: str
    """`seen` or `original`."""
    dtype: str
    rows_checked: int
    tokens_checked: int
    max_logit_difference: float
    mean_kl: float
    """Nats a token."""
    top1_agreement: float
    metric_before: float | None
    metric_after: float | None
    """The gate metric of adapter model and merged model, where the merge goes into other weights."""
