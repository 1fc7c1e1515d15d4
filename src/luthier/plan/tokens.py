"""How many tokens and steps the run has: from tokens that a run prepared, else guessed from the size of its files."""

import math
from pathlib import Path

from luthier.config.recipe import Recipe
from luthier.floor.errors import LuthierError
from luthier.reports.data import DataReport
from luthier.reports.plan import Tokens
from luthier.text.readers.sizes import guess_unpacked_bytes
from luthier.text.row_files import find_files

# Of English text with a vocabulary of 32,000 and more a token has about four characters; small vocabularies have less.
BYTES_A_TOKEN, BYTES_A_TOKEN_SMALL, SMALL_VOCABULARY = 4.0, 3.0, 16_000
# A file larger than this is not read through to count its lines: they are taken as long as those of its beginning.
MOST_READ_BYTES = 256 * 2**20
LINE_FORMATS = (".jsonl", ".ndjson", ".csv", ".tsv")


def prepared_tokens(report: DataReport, recipe: Recipe, source: str) -> Tokens:
    """From the report of `luthier prepare` or `luthier train`."""
    counts = report.train
    return _tokens(counts.rows_kept, counts.tokens or 0, recipe, source, is_exact=True)


def guessed_tokens(recipe: Recipe, vocabulary: int) -> Tokens:
    """From the files that the recipe names, unread but for their lines; nothing where they are not on this machine."""
    files = _files(recipe)
    if not files:
        return Tokens(source="no file of the recipe is on this machine", is_exact=False, rows=None, epoch_tokens=None, step_tokens=_tokens_per_step(recipe), steps=recipe.train.most_steps or None)  # fmt: skip
    a_token = BYTES_A_TOKEN_SMALL if vocabulary < SMALL_VOCABULARY else BYTES_A_TOKEN
    whole = sum(map(guess_unpacked_bytes, files))
    train_share = 1.0 if recipe.data.validation_path else 1 - recipe.data.validation_fraction
    rows = round(sum(map(_count_lines, files)) * train_share)
    tokens = round(whole / a_token * train_share)
    if rows:
        tokens = min(tokens, rows * recipe.data.max_length)
    what = f"guessed from {len(files)} {'file' if len(files) == 1 else 'files'} of {whole:,} bytes unpacked, {a_token:g} bytes a token; luthier prepare counts them"
    return _tokens(rows or None, tokens, recipe, what, is_exact=False)


def _tokens(rows: int | None, tokens: int, recipe: Recipe, source: str, *, is_exact: bool) -> Tokens:
    """Steps follow from rows a step, or from the other dial, tokens a step."""
    train = recipe.train
    if train.tokens_per_step:
        step_tokens = train.tokens_per_step
    elif rows:
        step_tokens = max(1, round(tokens / rows * train.batch_size * train.gradient_accumulation_steps))
    else:
        step_tokens = _tokens_per_step(recipe)
    steps = max(1, math.ceil(train.epochs * tokens / step_tokens)) if tokens else 0
    if train.most_steps:
        steps = min(steps, train.most_steps)
    return Tokens(
        source=source,
        is_exact=is_exact,
        rows=rows,
        epoch_tokens=tokens,
        step_tokens=step_tokens,
        steps=steps,
    )


def _tokens_per_step(recipe: Recipe) -> int:
    train = recipe.train
    rows = train.batch_size * train.gradient_accumulation_steps
    return train.tokens_per_step or rows * recipe.data.max_length // 2


def _files(recipe: Recipe) -> list[Path]:
    """The files that preparing would read; none where they are not on this machine."""
    wanted = recipe.data.sources or (recipe.data,)
    try:
        return [file for each in wanted for file in find_files(Path(each.path), each.pattern)]
    except LuthierError:  # preparing says what is wrong with them; a plan of the rest is still worth having
        return []


def _count_lines(file: Path) -> float:
    """Rows of a file of lines, those of a large one by its beginning; 0 for other formats."""
    if not file.name.lower().endswith(LINE_FORMATS):
        return 0
    size, lines, read = file.stat().st_size, 0, 0
    with file.open("rb") as opened:
        while read < MOST_READ_BYTES and (block := opened.read(2**20)):
            read += len(block)
            lines += block.count(b"\n")
    return lines * size / read if read else 0
