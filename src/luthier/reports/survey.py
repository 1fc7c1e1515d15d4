"""What a survey of prepared data counts: the numbers of `luthier data report`, on the page and in `--json`."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from luthier.reports.ledger import StageBooks


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class SplitShare(_Frozen):
    """One split: how much of it carries loss."""

    split: str
    rows: int
    tokens: int
    trained_tokens: int


class LengthBin(_Frozen):
    """Rows of `low` to `high` tokens, both included."""

    low: int
    high: int
    rows: int


class LengthCost(_Frozen):
    """What cutting rows at their end after so many tokens loses."""

    max_length: int
    rows_cut: int
    tokens_lost: int
    trained_tokens_lost: int


class Lengths(_Frozen):
    """Rows by their tokens, before anything was cut off."""

    bins: list[LengthBin]
    is_log: bool
    """Whether bins widen, since a few rows are far longer than most."""
    shortest: int
    median: int
    longest: int
    max_length: int
    """The cut-off of the recipe."""
    rows_cut: int
    tokens_lost: int
    trained_tokens_lost: int
    trained_tokens_gone: int
    """Of rows that the cut-off left out, whole."""
    costs: list[LengthCost]


class SourceShare(_Frozen):
    """What came of one file."""

    source: str
    rows: int
    tokens: int
    trained_tokens: int


class RoleShare(_Frozen):
    """Tokens of what a role says, template left aside."""

    role: str
    turns: int
    tokens: int
    tokens_of_learnt_turns: int
    """Of turns that carry loss."""


class LanguageShare(_Frozen):
    """Rows of the sample that are probably in a language."""

    language: str
    rows: int


class Ngram(_Frozen):
    """Words that follow each other in trained text."""

    text: str
    count: int
    rows: int
    """Rows of the sample that have it."""


class NgramTable(_Frozen):
    """The most frequent runs of n words."""

    n: int
    top: list[Ngram]
    most_missed: int
    """Counts may be too low by at most this; 0 where memory held all of them."""


class LikePair(_Frozen):
    """Two rows that repeat each other, or share a question."""

    kind: str
    likeness: str
    """`Jaccard 0.913`, `13 words in a row`, or nothing."""
    row: str
    text: str
    other: str
    other_text: str


class LikePairs(_Frozen):
    """Pairs that an earlier step left, and where they were read."""

    pairs: list[LikePair]
    found: int
    """All of them, shown or not."""
    told: str
    """Where they come from, or why there are none."""


class SampleRow(_Frozen):
    """A row as training takes it: its tokens' texts, and of each whether it carries loss."""

    row: int
    split: str
    origin: str
    tokens: list[str]
    trained: str
    """`0` or `1`, one a token."""
    token_count: int
    """More than are listed where the row is long."""
    trained_count: int
    tokens_lost: int


class DataSurvey(_Frozen):
    """Everything that the page shows."""

    title: str
    fingerprint: str
    format: str
    template: str
    files: dict[str, str]
    splits: list[SplitShare]
    ledger: list[StageBooks]
    lengths: Lengths
    sources: list[SourceShare]
    roles: list[RoleShare]
    roles_told: str
    languages: list[LanguageShare]
    languages_told: str
    repeats: LikePairs
    leaks: LikePairs
    ngrams: list[NgramTable]
    sample_rows: int
    """Rows that roles, languages and runs of words were counted in, drawn by the seed."""
    sample_of: Literal["all", "some"]
    rows: list[SampleRow]
