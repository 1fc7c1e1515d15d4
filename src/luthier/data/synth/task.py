"""What a person asked for: template, seeds, endpoint, and how answers are judged."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Form = Literal["messages", "prompt_completion"]
# A paragraph or two; an endpoint that is told no limit may write until its context is full.
ANSWER_TOKENS = 1024


@dataclass(frozen=True)
class Sampling:
    """What is sent beside the messages. `more` are further fields of the request, as the endpoint names them."""

    temperature: float = 0.7
    answer_tokens: int = ANSWER_TOKENS
    more: dict[str, Any] = field(default_factory=dict)

    def fields(self) -> dict[str, Any]:
        """The request's fields; what was said by its own name wins, and null leaves a field out."""
        said = {"temperature": self.temperature, "max_tokens": self.answer_tokens} | self.more
        return {name: value for name, value in said.items() if value is not None}


@dataclass(frozen=True)
class Patience:
    """How long and how often an endpoint is asked."""

    concurrency: int = 4
    retries: int = 5
    timeout_s: float = 120.0
    first_wait_s: float = 1.0
    """The wait before the first retry; it doubles from there."""


@dataclass(frozen=True)
class Checks:
    """What an answer must keep."""

    schema: Path | None = None
    pattern: str | None = None
    attempts: int = 3
    """So often a prompt is asked before an answer that fails, or is empty, is left out."""


@dataclass(frozen=True)
class SynthTask:
    """One line of `luthier data synth`."""

    template: Path
    seeds: Path
    endpoint: str
    model: str
    out: Path
    form: Form | None = None
    rows: int | None = None
    """So many answers are asked for; None for one a seed."""
    key_variable: str | None = None
    """The environment variable that holds the key."""
    sampling: Sampling = field(default_factory=Sampling)
    patience: Patience = field(default_factory=Patience)
    checks: Checks = field(default_factory=Checks)
    against: tuple[Path, ...] = ()
    threshold: float = 0.8
    exact_only: bool = False
    most_tokens: int | None = None
    overwrite: bool = False
