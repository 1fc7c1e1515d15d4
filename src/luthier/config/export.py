"""Leaving the workshop: merging an adapter into its base, and files for other programs."""

from typing import Annotated, Literal

from pydantic import Field, Strict

from luthier.config.base import Count, CountOrZero, Positive, Section

GgufType = Literal[
    "F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0", "Q4_K_M", "Q4_K_S", "Q4_1", "Q4_0", "Q3_K_M", "Q2_K"
]  # fmt: skip


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


class GgufConfig(Section):
    """Files for llama.cpp and what is built on it, each proven to answer as the merged model does."""

    types: Annotated[tuple[GgufType, ...], Strict(False), Field(min_length=1)] = ("Q5_K_M",)
    """The types to write, one file each; `--quant` says the same."""
    most_kl: Positive | None = None
    """Largest allowed mean KL divergence from the merged model, in nats a token; by default a bound for each type."""
    imatrix: bool = False
    """Weigh the columns of every matrix by how much it is multiplied by on training rows, so that few bits go where they matter; `--imatrix` says the same. Types of 8 bits and more are rounded without it."""
    calibration_rows: Count = 128
    """With `imatrix`: how many training rows are run through the model; a seed draws them."""
    calibration_seed: CountOrZero = 0
    """With `imatrix`: the seed of that draw."""
    answers: CountOrZero = 8
    """Held-out questions that both models answer greedily, to see how long the answers stay the same."""
    proof_texts: Literal["all", "rows"] = "all"
    """On which texts both tokenizers must agree: `rows` leaves out those of other languages and signs than the held-out rows hold."""


class ExportConfig(Section):
    """Files for other programs."""

    gguf: GgufConfig = GgufConfig()
    """GGUF files."""
