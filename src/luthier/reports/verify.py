"""What a verification leaves: how a file or a server answers beside the run's model, and whether that is near enough."""

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict

from luthier.reports.base import Figure, Report
from luthier.reports.evaluate import MetricChange

Kind = Literal["gguf", "model", "adapter", "server"]


class TokenCheck(BaseModel):
    """Whether the other side reads what the model was trained to read."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    told: Literal["ids", "counts", "nothing"]
    """`ids`: every prompt id for id; `counts`: only how many tokens each prompt has."""
    by: str
    """Who told: llama.cpp, a route of the server, its usage figures."""
    prompts: int
    texts: int
    """Further texts, whole rows and those on which tokenizers part; none of a server."""
    shapes: dict[str, int]
    """Prompts of each shape of conversation."""
    differ: int
    """Prompts and texts that are read otherwise."""


class VerifyReport(Report):
    """One subject held against one run. It is written whatever the verdict, before the command says it."""

    subject: str
    kind: Kind
    type: str | None
    """`F16`, `Q5_K_M`, ...: of a GGUF file, or the one with which the name of a server's model ends."""
    sha256: str | None
    """Of a GGUF file."""
    subject_bytes: int | None
    reference: str
    """`merged`, `tuned` or `whole`: the run's model that it was held against."""
    reference_folder: str
    rows_checked: int
    tokens: TokenCheck
    tokens_checked: int
    candidates: float | None
    """Next tokens whose probabilities were compared, on average; null is the whole vocabulary. With fewer, the KL divergence is a
    lower bound: the rest counts as one."""
    mean_kl: Figure
    """Nats a token."""
    allowed_kl: float
    max_kl: Figure
    top1_agreement: Figure
    """Share of tokens after which both hold the same next one for the likeliest."""
    perplexity_before: Figure
    perplexity_after: Figure
    perplexity_tokens: int
    """Tokens that both perplexities are of: of a server, those among its candidates."""
    answers_checked: int
    same_answer_share: float | None
    """How much of the greedy answers is the same from their start: of their first 48 tokens, or of all characters of a server's."""
    answers_in: Literal["tokens", "characters"]
    """What the share counts."""
    metrics: dict[str, MetricChange]
    gate_metric: str
    """The one of them that `verify.most_metric_loss` judges."""
    passed: bool
    problems: tuple[str, ...]
    worst: str
    """The row and token where the two are farthest apart."""
    notes: tuple[str, ...]


class Link(BaseModel):
    """One link of the chain from the trained model to what is served, as its report has it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    source: str
    """What was right: `adapter`, `merged`, `tuned`, `whole`, or the type of the file below a Modelfile."""
    target: str
    """`merged`, the type of a GGUF file, `Modelfile`, `model`, `adapter` or `server`."""
    is_verified: bool = False
    """By `luthier verify`; else by the command that made it."""
    name: str
    report: str
    state: str
    """`stands`: the file is the one that passed. `stood`: it passed when it was verified. `failed`, `changed`, `gone`: what they say.
    `stale`: it was made from other inputs than the run has now."""
    tokens: str
    tokens_checked: int
    mean_kl: Figure
    allowed_kl: float | None
    """None of an exact merge, whose logits themselves are judged."""
    top1_agreement: Figure
    perplexity_before: Figure = math.nan
    perplexity_after: Figure = math.nan
    same_answer_share: float | None = None
    metrics: dict[str, MetricChange] = {}
    gate_metric: str = "exact_match"
    problems: tuple[str, ...] = ()

    @property
    def is_broken(self) -> bool:
        """Whether the chain cannot be relied on: what was verified and is gone was somebody's file, and no link of the run."""
        return self.state not in (("stands", "stood", "gone") if self.is_verified else ("stands",))
