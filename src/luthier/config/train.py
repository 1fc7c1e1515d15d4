"""The training itself: how much, how fast, how precisely, and what is kept."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from luthier.config.base import (
    Count,
    CountOrZero,
    Fraction,
    FractionBelowOne,
    NotNegative,
    Positive,
    Section,
    Text,
)

Tracker = Literal["tensorboard", "wandb", "mlflow", "aim", "trackio", "comet_ml", "clearml", "neptune"]


class OptimizerConfig(Section):
    """AdamW (Loshchilov and Hutter 2019)."""

    name: Literal["adamw", "adamw_8bit"] = "adamw"
    """`adamw_8bit` keeps its moments in 8 bits (bitsandbytes)."""
    weight_decay: NotNegative = 0.0
    """Decoupled weight decay; biases, norms and embeddings are left out."""
    beta1: FractionBelowOne = 0.9
    """Decay of the first moment."""
    beta2: FractionBelowOne = 0.999
    """Decay of the second moment."""
    epsilon: Positive = 1e-8
    """Added to the denominator."""
    clip_norm: NotNegative = 1.0
    """Gradients are scaled down to this total norm; 0 means never."""


class ScheduleConfig(Section):
    """The learning rate over the run."""

    kind: Literal["cosine", "linear", "constant", "wsd"] = "cosine"
    """`wsd` is warm-up, stable, decay."""
    warmup_fraction: Fraction = 0.03
    """The share of the steps over which the rate rises from 0."""
    lr_floor_fraction: Fraction = 0.0
    """The rate at the end, as a share of the highest."""
    decay_fraction: Fraction = 0.2
    """`wsd`: the share of the steps over which the rate falls at the end."""


class ValidationConfig(Section):
    """Looking at the validation rows during training."""

    every_steps: CountOrZero = 0
    """Steps between validations; 0 means at the end of every epoch."""
    patience: CountOrZero = 0
    """Stop after so many validations without a better loss; 0 means never."""
    most_rows: CountOrZero = 0
    """Validate on the first so many validation rows; 0 means all."""
    sample_prompts: CountOrZero = 2
    """So many validation prompts are answered at every validation, to be read."""
    sample_new_tokens: Count = 64
    """The longest such answer."""


class CheckpointConfig(Section):
    """What is kept to resume from and to choose among."""

    save_steps: CountOrZero = 100
    """Steps between checkpoints; 0 means only when validating, stopping or ending."""
    keep_last: Count = 1
    """So many newest checkpoints are kept."""
    keep_best: CountOrZero = 1
    """So many checkpoints with the lowest validation loss are kept."""
    load_best: bool = False
    """End with the weights of the best checkpoint instead of the last ones."""

    @model_validator(mode="after")
    def _best_is_kept(self) -> Self:
        if self.load_best and not self.keep_best:
            raise ValueError(
                "load_best takes the best checkpoint, and keep_best 0 keeps none: set keep_best: 1"
            )
        return self


class LogConfig(Section):
    """What is written down while training."""

    logging_steps: Count = 20
    """Steps between lines of metrics."""
    trackers: Annotated[tuple[Tracker, ...], Field(strict=False)] = ("tensorboard",)
    """Where the metrics go besides metrics.jsonl."""
    project: Text = "luthier"
    """The project's name at the trackers."""


class TrainConfig(Section):
    """How much, how fast and how precisely."""

    epochs: Positive = 3.0
    """Passes over the rows."""
    most_steps: CountOrZero = 0
    """Stop after so many optimizer steps; 0 means when the epochs are done."""
    batch_size: Count = 4
    """Rows in a micro-batch; times the accumulation it is the rows of an optimizer step, packed or not."""
    gradient_accumulation_steps: Count = 2
    """Micro-batches in an optimizer step."""
    tokens_per_step: CountOrZero = 0
    """The other dial: tokens in an optimizer step, instead of rows. Do not set both."""
    pack_tokens: CountOrZero = 0
    """The most tokens of a packed micro-batch; 0 means batch_size x max_length."""
    packing: bool = True
    """Lay rows end to end without padding; no token sees another row. False pads the rows of a micro-batch, as `padding` says."""
    padding: Literal["longest", "bucketed", "fixed"] = "longest"
    """Without packing: pad to the longest row of the micro-batch; the same, with rows of like length put together (`bucketed`); or all to data.max_length (`fixed`)."""
    lr: Positive = 2e-4
    """The highest learning rate."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number format of the computation; `auto` is bf16 where the GPU has it, fp16 on older ones, fp32 on a CPU."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Compile the decoder layers; `auto` does on CUDA when the run is long enough to earn it back."""
    cuda_graphs: bool = True
    """Where layers are compiled for CUDA: launch a step of LoRA as one graph instead of kernel by kernel; not with `gradient_checkpointing`."""
    seed: CountOrZero = 42
    """Decides row order, dropout, adapter initialisation and the split."""
    threads: CountOrZero = 0
    """CPU threads; 0 leaves them as they are."""
    profile: bool = False
    """Trace a few steps after the warm-up with torch's profiler, into logs/profile of the run."""

    optimizer: OptimizerConfig = OptimizerConfig()
    """The optimizer."""
    schedule: ScheduleConfig = ScheduleConfig()
    """The learning rate over the run."""
    validation: ValidationConfig = ValidationConfig()
    """Looking at the validation rows."""
    checkpoint: CheckpointConfig = CheckpointConfig()
    """What is kept."""
    log: LogConfig = LogConfig()
    """What is written down."""

    @model_validator(mode="after")
    def _one_dial(self) -> Self:
        rows_given = {"batch_size", "gradient_accumulation_steps"} & self.model_fields_set
        if self.tokens_per_step and rows_given:
            raise ValueError(
                f"tokens_per_step and {sorted(rows_given)[0]} both say how large a step is: keep one of them"
            )
        if self.tokens_per_step and not self.packing:
            raise ValueError("tokens_per_step needs packing: true")
        if self.packing and self.padding != "longest":
            raise ValueError(
                f"padding {self.padding} pads rows, and packing leaves no padding: set packing: false"
            )
        return self
