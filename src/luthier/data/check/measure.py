"""What lengths are measured with; a file of its own, since tokenizers take seconds to load and most checks need none."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Measure:
    """What to measure with: a folder with a tokenizer, the recipe's way to render, and the length that rows should keep."""

    tokenizer: Path
    max_length: int | None = None
    template: Literal["auto", "guide", "chat", "guide_chat"] = "auto"
    train_on: Literal["all", "last"] = "all"
