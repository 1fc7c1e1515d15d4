"""What `luthier plan` foresees of a recipe, before any weight is loaded: memory, time, disk, money, and what looks odd in its settings."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

PhaseName = Literal["train", "eval", "save", "merge"]
Severity = Literal["error", "warning", "note"]
PHASES: dict[PhaseName, str] = {
    "train": "training",
    "eval": "evaluation",
    "save": "saving",
    "merge": "merging",
}
"""Their names for people."""


class Frozen(BaseModel):
    """A part of the plan."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Parameters(Frozen):
    """Numbers of the model."""

    total: int
    """Of the base; a tied head counts once."""
    trainable: int
    """That the method trains."""
    source: str
    """Where the count comes from."""


class Item(Frozen):
    """One part of a phase's memory, or of the disk."""

    name: str
    bytes: int
    how: str
    """The arithmetic, with its numbers."""


class Phase(Frozen):
    """The memory that a phase takes at its peak, on the device that it runs on."""

    device: str
    peak_bytes: int
    low_bytes: int
    high_bytes: int
    """The peak is expected between these two."""
    items: tuple[Item, ...]


class Tokens(Frozen):
    """What there is to train on."""

    source: str
    """`prepared by RUN`, or how it was guessed."""
    is_exact: bool
    rows: int | None
    epoch_tokens: int | None
    """Tokens of an epoch; null where nothing could be counted."""
    step_tokens: int | None
    """Tokens of an optimizer step, on average."""
    steps: int | None
    """Optimizer steps of the run."""


class Time(Frozen):
    """How long the steps take; loading, validation and saving come on top."""

    seconds: float | None
    low_seconds: float | None
    high_seconds: float | None
    tokens_per_second: float | None
    flops_per_token: float
    how: str
    cost: float | None
    """In the currency of --price-per-hour; null without one."""
    watt_hours: float | None
    """At the board's full power; null where that is not known."""


class Disk(Frozen):
    """What the run writes at most at one time."""

    bytes: int
    free_bytes: int | None
    items: tuple[Item, ...]
    download_bytes: int
    """What has to be fetched first; 0 if the weights are here."""


class SettingFinding(Frozen):
    """A setting that is unusual, or that cannot work."""

    setting: str
    value: str
    usual: str
    severity: Severity
    impact: str
    """How much the setting matters, as the guide ranks it."""
    consequence: str
    fix: str


class Rung(Frozen):
    """One way to fit the device, with what it takes and costs."""

    settings: str
    """What to type; empty for the recipe as it is."""
    peak_bytes: int
    high_bytes: int
    seconds: float | None
    fits: bool
    price: str


class PlanReport(Frozen):
    """The whole plan."""

    recipe: str
    model: str
    family: str
    method: str
    gpu: str
    """The device planned for."""
    gpu_bytes: int | None
    precision: str
    parameters: Parameters
    memory: dict[PhaseName, Phase]
    tokens: Tokens
    time: Time
    disk: Disk
    fits: bool | None
    """Whether every phase fits at the upper end of what is expected; null where the device's memory is not known."""
    tightest: str
    """The phase that comes nearest to the limit, in a sentence."""
    findings: tuple[SettingFinding, ...]
    ladder: tuple[Rung, ...]
    """The recipe as it is and the ways that make it smaller; only with --fit."""
