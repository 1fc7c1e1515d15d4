"""The rows to train on, and how they become tokens."""

from typing import Literal

from luthier.config.base import Count, FractionBelowOne, PathOrId, Section, Text
from luthier.config.clean import CleanConfig

Format = Literal["auto", "prompt_completion", "messages", "text"]


class DataConfig(Section):
    """Where the rows lie and how they become tokens."""

    path: PathOrId = "./data"
    """A JSONL file, a folder of them, or a dataset id of the Hugging Face hub."""
    pattern: Text = "*.jsonl"
    """Which files of a folder to read."""
    format: Format = "auto"
    """What a row holds. `auto` goes by the fields of the first row and refuses rows that differ."""
    revision: Text | None = None
    """A commit of a hub dataset."""
    hub_split: Text = "train"
    """The split of a hub dataset to train on."""
    validation_path: PathOrId | None = None
    """Rows to validate on during training. Without it, `validation_fraction` of the rows is set apart."""
    validation_fraction: FractionBelowOne = 0.05
    """The share of rows set apart for validation when there is no `validation_path`; 0 means none."""
    template: Literal["auto", "guide", "chat"] = "auto"
    """How a row becomes text: `guide` is prompt + newline + completion; `chat` is the tokenizer's chat template. `auto` takes `chat` for messages and `guide` for the rest."""
    train_on: Literal["all", "last"] = "all"
    """Which assistant turns of a conversation carry loss."""
    max_length: Count = 512
    """The most tokens of a row."""
    overlong: Literal["truncate", "drop", "split", "error"] = "truncate"
    """What happens to a row longer than `max_length`: cut at the end, left out, cut into several rows (text rows only), or refused. Always counted."""
    clean: CleanConfig = CleanConfig()
    """Cleaning the rows before they are split and rendered."""
    cache_path: PathOrId = "outputs/cache"
    """Where prepared tokens are kept; they are found again by a hash of data, tokenizer, template and settings."""
