"""What a search for leaks found: questions of one set that stand in the rows of another."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from luthier.reports.base import Report

LeakKind = Literal["exact", "folded", "near", "run"]


class LeakPair(BaseModel):
    """A row, and the question of the other set that it holds."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: LeakKind
    """`exact`: the same question but for case; `folded`: but for case, signs and white space; `near`: shared shingles; `run`: words in a row."""
    row: str
    """`file:line` of the row looked at."""
    text: str
    """Its text where the two meet, cut."""
    against: str
    """`file:line` of the first row that asks the question."""
    against_text: str
    """The question, cut where it is long."""
    jaccard: float | None
    """Shared shingles of both questions over all of them; null where that was not what decided."""
    run_words: int | None
    """How many words in a row are shared; null where that was not what decided."""


class LeakCounts(BaseModel):
    """The books of a search for leaks."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    rows: int
    rows_leaking: int
    """Rows that hold a question of the other set."""
    rows_against: int
    rows_leaked: int
    """Rows of the other set whose question was found."""
    kinds: dict[str, int]
    """Of `rows_leaking`, by the strongest likeness: exact before folded, near and run."""
    leaked_kinds: dict[str, int]
    """Of `rows_leaked`, in the same way."""
    rows_too_short: int
    """Rows of the other set of fewer than eight words, which are found only where the whole question is the same or near."""
    boilerplate_runs: int
    """Runs of eight words that stand in more than ten questions of the other set, and so tell nothing."""


class LeakFindings(BaseModel):
    """What was found in the training rows of a recipe, and what became of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    found: Literal["warn", "refuse", "drop"]
    """What the recipe asks for."""
    suites: LeakCounts | None
    """Against the benchmark suites; null if the recipe names none."""
    suite_files: dict[str, str]
    """Every file of them, with its SHA-256."""
    validation: LeakCounts | None
    """Against the validation rows; null if they were not looked at."""
    reasons: dict[str, int]
    """Training rows by what they hold a question of, whatever became of them."""
    pairs: list[LeakPair]
    """The first of them."""


class LeaksReport(Report):
    """Questions of one set that stand in the rows of another."""

    files: dict[str, str]
    """Every file of rows, with its SHA-256."""
    against: dict[str, str]
    """Every file whose questions were looked for, with its SHA-256."""
    threshold: float | None
    """The Jaccard from which two questions are near; null if nothing near was looked for."""
    counts: LeakCounts
    pairs: list[LeakPair]
    """The first pairs, as many as were asked for."""
