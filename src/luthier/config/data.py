"""The rows to train on, and how they become tokens."""

from typing import Annotated, Literal, Self

from pydantic import Field, Strict, model_validator

from luthier.config.base import Count, FractionBelowOne, PathOrId, Positive, Section, Text, TextOrTexts
from luthier.config.clean import CleanConfig
from luthier.config.repeats import DedupConfig, LeaksConfig

Format = Literal["auto", "prompt_completion", "messages", "text", "tokens"]


FileFormat = Literal[
    "auto", "jsonl", "json", "csv", "tsv", "parquet", "arrow", "text", "html", "pdf", "docx", "warc", "tar", "tfrecord"
]  # fmt: skip
MOST_TIMES_SEEN = 1000


class ColumnsConfig(Section):
    """Which columns or fields of a file make a row. Without any, a format's own fields are read, or the usual names of questions and answers."""

    prompt: TextOrTexts = ()
    """What is asked. Of several, the first must be there; the others follow after a blank line where they say something."""
    completion: TextOrTexts = ()
    """What is answered."""
    messages: TextOrTexts = ()
    """The conversation."""
    text: TextOrTexts = ()
    """The text of a row of text; several are joined with blank lines."""

    @model_validator(mode="after")
    def _make_one_row(self) -> Self:
        if bool(self.prompt) != bool(self.completion):
            raise ValueError("prompt and completion go together: name the columns of both")
        if sum(bool(names) for names in (self.prompt, self.messages, self.text)) > 1:
            raise ValueError(
                "prompt and completion, messages, and text are three kinds of row: name the columns of one"
            )
        return self


class SourceConfig(Section):
    """One of several sources of rows, and how much of it is seen."""

    path: PathOrId
    """A file, a folder of files, or a dataset id of the Hugging Face hub."""
    pattern: Text = "*.jsonl"
    """Which files of a folder to read. Of one without JSON lines, whose files of rows are all of one other format, those are."""
    file_format: FileFormat = "auto"
    """What the files are. `auto` goes by the endings of their names."""
    columns: ColumnsConfig = ColumnsConfig()
    """Which columns make a row."""
    weight: Annotated[Positive, Field(le=MOST_TIMES_SEEN)] = 1.0
    """How often each row is seen in an epoch: 1 once, 2 twice, 0.25 a quarter of the rows, always the same ones."""
    name: Text | None = None
    """What reports call it; the path if nothing is given."""
    revision: Text | None = None
    """A commit of a hub dataset."""
    hub_split: Text = "train"
    """The split of a hub dataset."""


class DataConfig(Section):
    """Where the rows lie and how they become tokens."""

    path: PathOrId = "./data"
    """A file of rows, a folder of them, or a dataset id of the Hugging Face hub."""
    pattern: Text = "*.jsonl"
    """Which files of a folder to read. Of one without JSON lines, whose files of rows are all of one other format, those are."""
    file_format: FileFormat = "auto"
    """What the files are. `auto` goes by the endings of their names, and takes lines of JSON where they tell nothing."""
    columns: ColumnsConfig = ColumnsConfig()
    """Which columns make a row."""
    sources: Annotated[tuple[SourceConfig, ...], Strict(False)] = ()
    """Several sources instead of `path`, each a section: path, pattern, file_format, columns, weight, name, revision, hub_split."""
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
    group_by: Text | None = None
    """A field of the rows, such as an author: rows of one value are never parted. Without it rows that ask the same are not."""
    stratify_by: Text | None = None
    """A field of the rows, such as a label: validation gets its share of every value."""
    template: Literal["auto", "guide", "chat", "guide_chat"] = "auto"
    """How a row becomes text: `guide` is prompt + newline + completion; `chat` is the tokenizer's chat template; `guide_chat` writes <user>...</user><assistant>...</assistant>. `auto` takes `chat` for messages and `guide` for the rest. Rows of tokens stand as they are; of them it says how the model is asked later."""
    train_on: Literal["all", "last"] = "all"
    """Which assistant turns of a conversation carry loss; of these never one whose `weight` is 0."""
    max_length: Count = 512
    """The most tokens of a row."""
    overlong: Literal["auto", "truncate", "truncate_left", "drop", "split", "error"] = "auto"
    """What happens to a row longer than `max_length`: cut at its end or (`truncate_left`) its beginning, left out, cut into several rows (rows of text or tokens), or refused. `auto` cuts at the end, unless more than 1 % of the trained tokens would be lost: then it refuses and tells what each choice costs."""
    tokenization: Literal["cached", "on_the_fly"] = "cached"
    """When training rows become tokens. `cached`: all before training, and their tokens are kept. `on_the_fly`: as training reaches them, and only their texts are kept, so that training starts soon; it cannot split rows, and with `train.tokens_per_step` needs `train.most_steps`."""
    clean: CleanConfig = CleanConfig()
    """Cleaning the rows before they are split and rendered."""
    dedup: DedupConfig = DedupConfig()
    """Leaving out rows that repeat others, after cleaning."""
    leaks: LeaksConfig = LeaksConfig()
    """Looking for the questions of benchmark suites and validation rows in training rows, after deduplication."""
    cache_path: PathOrId = "outputs/cache"
    """Where prepared tokens are kept; they are found again by a hash of data, tokenizer, template and settings."""
