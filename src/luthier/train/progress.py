"""How far a run is: counters that a checkpoint keeps beside weights and optimizer.

Row order and randomness are functions of (seed, step), so these numbers are all that resuming needs.
"""

from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass
class Progress:
    """Counters of a run; the one mutable record of the loop."""

    step: int = 0
    """Optimizer steps done."""
    rows: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    skipped_steps: int = 0
    """fp16 steps whose gradients overflowed while the loss scale was too high."""
    window_loss: float = 0.0
    """Sum of losses (nats) since the last line of metrics."""
    window_targets: int = 0
    first_loss: float | None = None
    last_loss: float | None = None
    validation_loss: float | None = None
    best_validations: list[tuple[float, int]] = field(default_factory=list)
    """(validation loss, step), best first, of the checkpoints worth keeping."""
    validations_without_gain: int = 0
    validation_is_due: bool = False
    """A stop came before this step's validation was done: the resumed run does it first."""
    stopped_early: bool = False
    seconds: float = 0.0
    """Time spent in steps, all sessions of the run together."""
    resumed_from: list[int] = field(default_factory=list)

    def to_facts(self) -> dict[str, Any]:
        """As JSON keeps it; Python's floats survive JSON bit for bit."""
        return asdict(self)

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> "Progress":
        """Back from JSON."""
        known = {entry.name for entry in fields(cls)}
        progress = cls(**{name: value for name, value in facts.items() if name in known})
        progress.best_validations = [(loss, step) for loss, step in progress.best_validations]
        return progress

    def note_validation(self, loss: float, *, keep_best: int) -> bool:
        """Remember a validation; True if it is the best so far."""
        is_best = not self.best_validations or loss < self.best_validations[0][0]
        self.validation_loss = loss
        self.validations_without_gain = 0 if is_best else self.validations_without_gain + 1
        self.best_validations = sorted([*self.best_validations, (loss, self.step)])[: max(1, keep_best)]
        return is_best
