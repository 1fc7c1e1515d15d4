"""The held-out rows on which a merged model is compared with the adapter model.

They come from `evaluate.path`, rendered as in training; where there is no such file, from the validation rows that the data
stage set apart. Rows that were trained on are never used: a merge is judged as a model is.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import get_args

from transformers import PreTrainedTokenizerBase

from luthier.config.recipe import Recipe
from luthier.floor.errors import DataError
from luthier.floor.files import sha256_of
from luthier.reports.data import DataReport
from luthier.text.render import Renderer, Template, choose_template
from luthier.text.rows import Row, find_files, read_held_out
from luthier.text.tokenizer import stop_ids
from luthier.tokens.store import TokenStore


@dataclass(frozen=True)
class CheckRow:
    """A held-out row: the ids to compare logits on, and the question and answer in it if it has them."""

    origin: str
    ids: tuple[int, ...]
    prompt: tuple[int, ...]
    """Empty for a plain text."""
    expected: str
    row: Row | None = None
    """What it was rendered from; None for one that is kept as tokens only."""


@dataclass(frozen=True)
class CheckRows:
    """The rows, and the tokens at which an answer to them ends."""

    rows: tuple[CheckRow, ...]
    stop_ids: tuple[int, ...]
    answer_end: str = ""
    """The text that ends an answer before the token that does, and is no part of it."""

    @property
    def questions(self) -> tuple[CheckRow, ...]:
        """The rows that a model can answer."""
        return tuple(row for row in self.rows if row.prompt and row.expected)


def hash_check_rows(recipe: Recipe, data: DataReport | None) -> str:
    """A hash of what `read_check_rows` would read; raises DataError data-missing if there is nothing to read."""
    path = Path(recipe.evaluate.path)
    if path.exists():
        parts = [sha256_of(file) for file in find_files(path, recipe.data.pattern)]
    elif data is not None and data.validation is not None:
        parts = [data.validation.fingerprint]
    else:
        raise _nothing_held_out(recipe)
    settings = [recipe.evaluate.format, str(recipe.merge.check_rows), str(recipe.data.max_length)]
    return hashlib.sha256("\n".join(parts + settings).encode()).hexdigest()


def read_check_rows(recipe: Recipe, data: DataReport | None, tokenizer: PreTrainedTokenizerBase) -> CheckRows:
    """The first `merge.check_rows` held-out rows, cut at `data.max_length`.

    Raises DataError if there are none or they cannot be read.
    """
    path = Path(recipe.evaluate.path)
    if path.exists():
        return _from_files(recipe, data, tokenizer)
    if data is not None and data.validation is not None:
        return _from_store(recipe, data, tokenizer)
    raise _nothing_held_out(recipe)


def _from_files(recipe: Recipe, data: DataReport | None, tokenizer: PreTrainedTokenizerBase) -> CheckRows:
    held_out = read_held_out(Path(recipe.evaluate.path), recipe.data, recipe.evaluate.format)
    rows = list(islice(held_out, recipe.merge.check_rows))
    if not rows:
        raise DataError(
            "data-empty", "there is no held-out row to check the merge on", where=str(recipe.evaluate.path)
        )
    return render_check_rows(rows, recipe, data, tokenizer)


def check_template(recipe: Recipe, data: DataReport | None, first: Row) -> Template:
    """The form in which held-out rows are rendered: that of the run's training rows, where it prepared some."""
    if data is None:
        return choose_template(recipe.data.template, first.kind)
    return next(each for each in get_args(Template) if each == data.template)


def render_check_rows(
    rows: Sequence[Row], recipe: Recipe, data: DataReport | None, tokenizer: PreTrainedTokenizerBase
) -> CheckRows:
    """Rows of one kind as training renders them, cut at `data.max_length`."""
    renderer = Renderer(
        tokenizer, template=check_template(recipe, data, rows[0]), train_on=recipe.data.train_on
    )
    return CheckRows(
        tuple(
            CheckRow(
                row.origin,
                tuple(renderer.render(row).ids[: recipe.data.max_length]),
                () if row.kind == "text" else tuple(renderer.render_prompt(row)),
                "" if row.kind == "text" else renderer.expected(row),
                row,
            )
            for row in rows
        ),
        stop_ids(tokenizer),
        renderer.answer_end,
    )


def _from_store(recipe: Recipe, data: DataReport, tokenizer: PreTrainedTokenizerBase) -> CheckRows:
    store = TokenStore.open(Path(data.store) / "validation")
    ends = stop_ids(tokenizer)
    rows = []
    for row in range(min(store.rows, recipe.merge.check_rows)):
        ids = [int(token) for token in store.ids(row)]
        start, end = _first_answer(store.trained(row).tolist())
        expected = [token for token in ids[start:end] if token not in ends]
        rows.append(
            CheckRow(store.origin(row), tuple(ids), tuple(ids[:start]), str(tokenizer.decode(expected)))
        )
    return CheckRows(tuple(rows), ends)


def _first_answer(trained: Sequence[bool]) -> tuple[int, int]:
    """Where the first run of trained tokens begins and ends; (0, 0) for a plain text, which is trained from its start."""
    if True not in trained[2:] or trained[1]:
        return 0, 0
    start = trained.index(True)
    return start, trained.index(False, start) if False in trained[start:] else len(trained)


def _nothing_held_out(recipe: Recipe) -> DataError:
    return DataError(
        "data-missing",
        f"there is no held-out row to check the merge on: evaluate.path = {recipe.evaluate.path} is not there, "
        "and the run set no validation rows apart",
        why="A merged model is compared with the adapter model on rows that neither was trained on.",
        fix="Name a file of rows: luthier merge evaluate.path=FILE.jsonl",
    )
