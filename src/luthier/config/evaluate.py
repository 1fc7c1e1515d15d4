"""Judging a model on held-out rows, and a tuned model against its base."""

from typing import Literal

from luthier.config.base import Count, CountOrZero, Fraction, PathOrId, Section, Text
from luthier.config.data import Format


class EvaluateConfig(Section):
    """Held-out rows, generation and metrics."""

    subject: Literal["tuned", "base", "merged"] = "tuned"
    """Evaluate the trained model, the base it came from, or what `luthier merge` made of both."""
    path: PathOrId = "data/eval/test.jsonl"
    """The held-out rows."""
    format: Format = "auto"
    """What a row holds."""
    max_prompt_tokens: Count = 4096
    """Longer prompts lose their beginning; counted."""
    max_new_tokens: Count = 256
    """The longest answer."""
    batch_tokens: CountOrZero = 0
    """The most tokens (rows x longest prompt and answer) generated at once; 0 means as many as a quarter of a GPU's free memory holds, and 16,384 on a CPU."""
    most_rows: CountOrZero = 0
    """Evaluate the first so many rows; 0 means all."""
    bootstrap_samples: Count = 2000
    """Resamples behind each interval."""
    confidence: Fraction = 0.95
    """The level of the intervals."""
    gate_metric: Text = "exact_match"
    """The metric by which `luthier compare` says yes or no."""
    gate: Literal["better", "not_worse"] = "better"
    """`better`: the interval of the gain lies above 0. `not_worse`: it does not lie below 0."""
