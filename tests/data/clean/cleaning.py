"""Filters run over a few rows, for the tests of the cleaning."""

from typing import Any

from luthier.config.clean import CleanConfig
from luthier.data.clean.cleaner import Cleaner
from luthier.data.clean.presets import make_filters
from luthier.reports.data import CleaningCounts
from luthier.text.rows import Message, Row


def text_row(text: str, line: int = 1) -> Row:
    """A row of format text."""
    return Row("text", f"f.jsonl:{line}", text=text)


def pair_row(prompt: str, completion: str, line: int = 1) -> Row:
    """A row of prompt and completion."""
    return Row("prompt_completion", f"f.jsonl:{line}", prompt, completion)


def chat_row(*contents: str, line: int = 1) -> Row:
    """A conversation in which user and assistant take turns."""
    roles = ("user", "assistant")
    messages = tuple(Message(roles[number % 2], content) for number, content in enumerate(contents))
    return Row("messages", f"f.jsonl:{line}", messages=messages)


def run(settings: dict[str, Any], *rows: Row) -> tuple[list[Row], CleaningCounts]:
    """The rows that settings of data.clean keep, and the books."""
    cleaner = Cleaner(make_filters(CleanConfig.model_validate(settings)))
    kept = list(cleaner.clean(iter(rows)))
    counts = cleaner.counts()
    assert counts is not None, "no filter was on"
    return kept, counts


def dropped(settings: dict[str, Any], *rows: Row) -> dict[str, dict[str, int]]:
    """What each filter left out, by reason."""
    _, counts = run(settings, *rows)
    return {name: each.dropped for name, each in counts.filters.items() if each.dropped}
