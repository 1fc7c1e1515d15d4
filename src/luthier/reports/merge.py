"""What a merge leaves: the proof that the merged model answers as the adapter model did."""

from luthier.reports.base import Report


class MergeReport(Report):
    """A merged model that passed its check.

    Its difference from the adapter model was measured in a fresh process, from the files, on held-out rows. The adapter model
    of a quantized run is the adapter over the dequantized base, the numbers that its quantized weights stand for.
    """

    folder: str
    base: str
    """`seen` or `original`."""
    dtype: str
    """`fp32`, `bf16` or `fp16`."""
    tied_embeddings: bool
    """False where the adapter parted tied embeddings, or they never were tied."""
    rows_checked: int
    tokens_checked: int
    computed_in: str
    """The number format of the check: fp32, or the stored one where memory was short."""
    max_logit_difference: float
    mean_kl: float
    """Nats a token."""
    top1_agreement: float
    difference_before_rounding: float | None
    """Largest logit difference of the merged weights in fp32, before they were rounded to `dtype`; None if memory was short."""
    kl_to_quantized: float | None
    """Quantized runs: mean KL divergence of the adapter model from the quantized model as it was trained, nats a token."""
    metric: str | None
    metric_before: float | None
    metric_after: float | None
    """The gate metric of adapter model and merged model, where the merge goes into other weights."""
