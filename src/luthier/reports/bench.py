"""What `luthier bench` found about a machine."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from luthier.reports.provenance import Provenance


class BenchReport(BaseModel):
    """One measurement of training or generation."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: Literal["train", "generate"]
    """What was measured."""
    model: str
    """The base as the recipe names it, or the shape with random weights."""
    method: str | None
    """How it was trained; null for generation."""
    device: str
    precision: str
    attention: str
    compiled: bool | None
    """Whether the decoder layers were compiled; null for generation."""
    steps: int
    """Timed steps; of generation, timed answers."""
    warmup: int
    """Steps before them, not timed."""
    tokens: int
    """Real tokens in the timed steps, padding left out; of generation, new tokens."""
    seconds: float
    tokens_per_second: float
    first_seconds: float | None
    """From the start of loading to the end of the first step; of generation, to the first new token of every prompt."""
    peak_bytes: int
    """The most memory of the GPU that torch reserved; on a CPU, of the process."""
    flops_per_token: float | None
    """Null, and the shares with it, where no step could be traced."""
    spec_flops: float | None
    """The data sheet's peak, dense 16 bit; null where it is not known."""
    share_of_spec: float | None
    matmul_flops: float
    """What a square product of this machine reached."""
    matmul_width: int
    share_of_matmul: float | None
    breakdown: dict[str, float]
    """Seconds of a step by cost, scaled to the timed steps; empty if nothing could be traced."""
    traced_steps: int
    largest: str
    """The largest cost and what would make it smaller, in a sentence."""
    provenance: Provenance
