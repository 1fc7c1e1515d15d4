"""What `luthier advise base` found about candidates for a base, and which it would take."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Kind = Literal["base", "specialized", "tuned", "unsure"]
Suits = Literal["yes", "with care", "no"]
Confidence = Literal["high", "medium", "low"]
Task = Literal["novel", "extend", "behaviour"]


class Frozen(BaseModel):
    """A part of the advice."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class EvidencePiece(Frozen):
    """One reason for what a model is taken for."""

    weight: float
    """Positive speaks for a tuned model, negative for a base."""
    says: str


class Candidate(Frozen):
    """One model, judged."""

    name: str
    is_here: bool
    """Whether its files lie on this machine; otherwise only its name was judged."""
    kind: Kind
    kind_confidence: Confidence
    domain: str | None
    """What its text was mostly about, where its name says so."""
    evidence: tuple[EvidencePiece, ...]
    parameters: int | None
    context_tokens: int | None
    licence: str | None
    is_gated: bool
    bytes_per_token: float | None
    """Of the rows that were given: more bytes a token are fewer tokens."""
    bits_per_byte: float | None
    """That the model needs for the rows; fewer say that it has read more of the kind. Null where it was not measured."""
    suits: Suits
    why: str
    warnings: tuple[str, ...]


class BaseAdvice(Frozen):
    """The advice."""

    task: Task
    domain: str | None
    rows: str | None
    """The file whose texts were tokenized."""
    candidates: tuple[Candidate, ...]
    """The most suitable first."""
    recommended: str | None
    """Null if none of them suits."""
    why: str
    confidence: Confidence
