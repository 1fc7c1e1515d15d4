"""Leaving the workshop: merging an adapter into its base."""

from typing import Literal

from luthier.config.base import Count, Positive, Section


class MergeConfig(Section):
    """One model out of base and adapter, proven to answer as both did."""

    base: Literal["seen", "original"] = "seen"
    """For quantized training: merge into the dequantized base that the adapter saw, or into the original weights."""
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number format of the merged weights; `auto` keeps the base's own."""
    tolerance: Positive = 1e-4
    """Largest allowed logit difference of an fp32 merge."""
    most_kl: Positive = 0.02
    """Largest allowed mean KL divergence, in nats a token, of a merge that is rounded or goes into other weights."""
    most_metric_loss: Positive = 0.02
    """Largest allowed fall of the gate metric when a quantized adapter goes into the original base."""
    check_rows: Count = 32
    """Held-out rows on which the merge is compared with the adapter model."""
