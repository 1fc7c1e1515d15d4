"""`luthier data show`: what the model will learn, row by row or step by step, before a GPU is touched.

Reads the rows as training does, from the token store or tokenized on the fly; only the raw row is read again from its file.
"""

import enum
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli.options import AsJson, Words

if TYPE_CHECKING:
    from luthier.cli.row_facts import RowReader
    from luthier.cli.row_picture import Look, Pieces
    from luthier.config.recipe import Recipe
    from luthier.encoding.on_the_fly import OnTheFlyRows
    from luthier.floor.rundir import RunDir
    from luthier.reports.data import DataReport, SplitCounts
    from luthier.tokens.store import TokenStore
    from luthier.tokens.text_store import TextStore


class Split(enum.StrEnum):
    """The two stores of prepared rows."""

    TRAIN = "train"
    VALIDATION = "validation"


@dataclass(frozen=True)
class Choice:
    """What was asked for; at most one of the four."""

    row: int | None
    origin: str | None
    step: int | None
    sample: int | None


@dataclass(frozen=True)
class Opened:
    """One split of prepared data, and what to type to come back to it."""

    recipe: "Recipe"
    report: "DataReport"
    split: Split
    store: "TokenStore | OnTheFlyRows"
    counts: "SplitCounts"
    typed: str


def data_show(
    words: Words = None,
    run: Annotated[str | None, typer.Option("--run", metavar="RUN", help="Show what this run was or will be trained on.", show_default=False)] = None,
    row: Annotated[int | None, typer.Option("--row", metavar="N", help="The row of this number, counted from 0.", show_default=False)] = None,
    origin: Annotated[str | None, typer.Option("--origin", metavar="FILE:LINE", help="What came of this line, or of 'FILE#row N'.", show_default=False)] = None,
    step: Annotated[int | None, typer.Option("--step", metavar="N", help="The micro-batches of this optimizer step, counted from 1.", show_default=False)] = None,
    sample: Annotated[int | None, typer.Option("--sample", metavar="N", help="So many rows, drawn by the recipe's seed.", show_default=False)] = None,
    split: Annotated[Split, typer.Option("--split", help="The rows to train on, or those to validate on.")] = Split.TRAIN,
    tokens: Annotated[bool, typer.Option("--tokens", help="Show every token with its id, its text, and whether it carries loss.")] = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Show what the model will learn: rows as they were prepared, what is trained in them, and the batches of a step.

    Without a choice: the first row, the longest, one drawn by the seed. The data is prepared if that is not done.
    """
    from luthier.cli.output import show_json, show_painted
    from luthier.cli.paint import has_colour
    from luthier.cli.row_facts import RowReader
    from luthier.cli.row_picture import Look
    from luthier.data.sources import names_positions
    from luthier.text.token_text import TokenBytes
    from luthier.text.tokenizer import load_tokenizer

    choice = Choice(row, origin, step, sample)
    check_choice(choice, split)
    with open_data(words, run, split) as opened:
        tokenizer = load_tokenizer(Path(opened.report.tokenizer))
        reader = RowReader(
            opened.store,
            TokenBytes(tokenizer),
            opened.report.files,
            by_position=names_positions(opened.recipe.data),
        )
        look = Look(has_colour(), with_tokens=tokens, was_cleaned=opened.report.cleaning is not None)
        facts, pieces = (shown_rows if step is None else shown_step)(opened, choice, reader, look)
    if as_json:
        return show_json({**data_json(opened), **facts})
    return show_painted([*pieces, (f"\n\n{totals_text(opened, choice)}", "")])


def check_choice(choice: Choice, split: Split) -> None:
    """Raise UsageError for two choices, a number that is none, and steps of rows that are not trained on."""
    named = [f"--{name}" for name, value in vars(choice).items() if value is not None]
    if len(named) > 1:
        raise _usage(f"{' and '.join(named)} choose different things", "Keep one of them.")
    if choice.step is not None and split is Split.VALIDATION:
        raise _usage(
            "--step shows training steps, and validation rows are not trained on", "Leave out --split."
        )
    for name, value, least in (
        ("row", choice.row, 0),
        ("step", choice.step, 1),
        ("sample", choice.sample, 1),
    ):
        if value is not None and value < least:
            raise _usage(f"--{name} {value}: must be at least {least}", f"For example: --{name} {least}")


@contextmanager
def open_data(
    words: Sequence[str] | None,
    run: str | None,
    split: Split,
    *,
    verb: str = "data show",
    needs_tokens: bool = False,
) -> Iterator[Opened]:
    """The prepared rows that the command line means, prepared now if they are not; a temporary run is removed at the end.

    Raises UsageError if the tokens of all rows are needed and training rows are tokenized on the fly.
    """
    from luthier.cli.choose import need_recipe, recipe_of_run, shown_path, split_words
    from luthier.cli.output import tell
    from luthier.config.compose import load_recipe
    from luthier.floor.rundir import RunDir, open_run

    name, overrides = split_words(words)
    if run is None:
        resolved = load_recipe(*need_recipe(words, verb=verb))
        typed = shlex.join(words or ())
    else:
        run_dir = open_run(run)
        resolved = recipe_of_run(run_dir, name, overrides)
        typed = shlex.join([*(words or ()), "--run", shown_path(run_dir)])
    for warning in resolved.warnings:
        tell(f"warning: {warning}")
    if needs_tokens and resolved.recipe.data.tokenization == "on_the_fly":
        raise _usage(
            f"{verb} counts the tokens of all rows, and data.tokenization on_the_fly leaves them to the training",
            f"Let it count them: luthier {verb} RECIPE data.tokenization=cached; or look at some: luthier data show {typed}",
        )
    if run is not None and not words:
        with open_split(resolved.recipe, report_of_run(run_dir, resolved.recipe), split, typed) as opened:
            yield opened
        return
    with tempfile.TemporaryDirectory(prefix="luthier-data-show-") as folder:
        report = _prepare(resolved.recipe, RunDir(Path(folder)))
        with open_split(resolved.recipe, report, split, typed) as opened:
            yield opened


def report_of_run(run: "RunDir", recipe: "Recipe") -> "DataReport":
    """What the run says of its data; a run that has none yet gets it now.

    Raises DataError (data-cache) if the tokens it was trained on are gone: others must not be shown in their place.
    """
    from luthier.floor.errors import DataError
    from luthier.floor.rundir import lock_run
    from luthier.reports.data import DataReport

    if not run.report("data").is_file():
        with lock_run(run):
            return _prepare(recipe, run)
    report = DataReport.read(run.report("data"))
    if not Path(report.store).is_dir():
        raise DataError(
            "data-cache",
            f"the run {run.name} has no prepared data any more",
            where=report.store,
            why="The tokens that it was prepared with are gone.",
            fix=f"Prepare them again: luthier prepare --run {run.path}",
        )
    return report


def _prepare(recipe: "Recipe", run: "RunDir") -> "DataReport":
    from luthier.cli.screen import Screen
    from luthier.data.stage import prepare
    from luthier.floor.stop import StopFlag, listen_for_stop

    with listen_for_stop(StopFlag()) as stop:
        return prepare(recipe, run, listener=Screen(), stop=stop)


@contextmanager
def open_split(recipe: "Recipe", report: "DataReport", split: Split, typed: str) -> Iterator[Opened]:
    """The rows of one split. Raises UsageError if there are none, DataError (data-cache) if they are another's."""
    from luthier.cli.screen import Screen
    from luthier.encoding.open import training_rows
    from luthier.floor.errors import DataError
    from luthier.tokens.store import TokenStore

    counts = report.train if split is Split.TRAIN else report.validation
    if counts is None or not counts.rows_kept:
        raise _usage(f"there is no {split.value} row", "Give more rows, or look at data.validation_fraction.")
    with ExitStack() as stack:
        if split is Split.TRAIN:
            store = stack.enter_context(training_rows(recipe, report, listener=Screen()))
        else:
            store = TokenStore.open(Path(report.store) / split.value)
        if store.fingerprint != counts.fingerprint:
            raise DataError(
                "data-cache",
                "the prepared rows are not those that the report speaks of",
                where=report.store,
                fix="Prepare them again: luthier prepare RECIPE --again",
            )
        yield Opened(recipe, report, split, store, counts, typed)


def shown_step(
    opened: Opened, choice: Choice, reader: "RowReader", look: "Look"
) -> tuple[dict[str, Any], "Pieces"]:
    """The step asked for, for `--json` and for the screen. Raises UsageError if the run is shorter."""
    from luthier.cli.step_picture import read_step, step_pieces
    from luthier.tokens.row_order import RowOrder

    order = RowOrder(opened.store.lengths, opened.recipe)
    assert choice.step is not None
    if choice.step > order.total_steps:
        what = f"there is no step {choice.step}: the run has {order.total_steps}"
        raise _usage(what, f"The last one: luthier data show {opened.typed} --step {order.total_steps}")
    step = read_step(choice.step, order, opened.recipe, opened.store, reader)
    return step.as_json(with_tokens=look.with_tokens), step_pieces(step, look)


def shown_rows(
    opened: Opened, choice: Choice, reader: "RowReader", look: "Look"
) -> tuple[dict[str, Any], "Pieces"]:
    """The rows asked for, for `--json` and for the screen."""
    from luthier.cli.row_picture import row_pieces

    facts: list[dict[str, Any]] = []
    pieces: Pieces = []
    for row, title in choose_rows(opened, choice):
        shown = reader.read(row)
        facts.append(shown.as_json(with_tokens=look.with_tokens))
        pieces += [*([("\n\n", "")] if pieces else []), *row_pieces(shown, look, title=title)]
    return {"rows": facts}, pieces


def choose_rows(opened: Opened, choice: Choice) -> list[tuple[int, str]]:
    """The numbers of the rows to show, each with why it was chosen. Raises UsageError if there is no such row."""
    from luthier.tokens.order import permutation

    store = opened.store
    if choice.row is not None:
        if choice.row >= store.rows:
            what = f"there is no row {choice.row}: {opened.split.value} has {store.rows} rows, counted from 0"
            raise _usage(what, f"The last one: luthier data show {opened.typed} --row {store.rows - 1}")
        return [(row, "") for row in still_there(opened, [choice.row])]
    if choice.origin is not None:
        return [(row, "") for row in still_there(opened, rows_of_origin(opened, choice.origin))]
    drawn = permutation(store.rows, seed=opened.recipe.train.seed, epoch=0).tolist()
    learnt = (row for row in drawn if not is_left_out(opened, row))
    if choice.sample is not None:
        return [(row, "drawn by the seed") for row in islice(learnt, choice.sample)]
    first = next(row for row in range(store.rows) if not is_left_out(opened, row))
    longest, length = longest_row(opened)
    chosen = {first: "the first"}
    if not is_left_out(opened, longest):
        chosen[longest] = f"the first and the {length}" if longest == first else f"the {length}"
    other = next((row for row in learnt if row not in chosen), None)
    return [*chosen.items(), *([(other, "drawn by the seed")] if other is not None else [])]


def longest_row(opened: Opened) -> tuple[int, str]:
    """The longest row, and in what it is: rows without tokens yet are measured by their texts."""
    import numpy as np

    from luthier.tokens.store import TokenStore

    store = opened.store
    if isinstance(store, TokenStore):
        return int(store.lengths_N.argmax()), "longest"
    return int(store.texts.bytes_of(np.arange(store.rows)).argmax()), "longest text"


def is_left_out(opened: Opened, row: int) -> bool:
    """Whether nothing of a row is left to learn from; in a token store there is no such row."""
    from luthier.tokens.store import TokenStore

    return not isinstance(opened.store, TokenStore) and opened.store.is_left_out(row)


def still_there(opened: Opened, rows: Sequence[int]) -> Sequence[int]:
    """The rows, if they are trained. Raises UsageError for one that is left out when it is tokenized."""
    for row in rows:
        if is_left_out(opened, row):
            raise _usage(
                f"nothing of {opened.store.origin(row)} is left to learn from: training leaves it out when it tokenizes it",
                "Look at data.max_length and data.overlong; the training's report counts such rows.",
            )
    return rows


def rows_of_origin(opened: Opened, origin: str) -> list[int]:
    """The rows that came from FILE:LINE or FILE#row N. Raises UsageError that says so if there are none."""
    from luthier.data.cache import open_training
    from luthier.tokens.origin import split_origin
    from luthier.tokens.store import TokenStore

    found = split_origin(origin)
    if found is None:
        what = f"--origin {origin} is neither FILE:LINE nor 'FILE#row N'"
        raise _usage(what, "For example: --origin data/train.jsonl:17")
    file, line = found

    def found_in(store: "TokenStore | OnTheFlyRows | TextStore") -> list[int]:
        same = [source for source in store.sources if Path(source).resolve() == Path(file).resolve()]
        return [row for source in same for row in store.rows_of(source, line)]

    rows = found_in(opened.store)
    if rows:
        return rows
    other = Split.VALIDATION if opened.split is Split.TRAIN else Split.TRAIN
    what = f"no row of {opened.split.value} came from {origin}"
    folder = Path(opened.report.store)
    is_there = opened.report.validation or other is Split.TRAIN
    if is_there and found_in(
        open_training(folder) if other is Split.TRAIN else TokenStore.open(folder / other.value)
    ):
        raise _usage(what, f"It is in {other.value}: add --split {other.value}")
    raise _usage(what, "The line is not there, or was left out; the books say why: luthier prepare RECIPE")


def data_json(opened: Opened) -> dict[str, Any]:
    """What `--json` says of the data before what was chosen."""
    counts = opened.counts
    return {
        "store": opened.report.store,
        "split": opened.split.value,
        "rows_kept": counts.rows_kept,
        "tokens": counts.tokens,
        "trained_tokens": counts.trained_tokens,
        "fingerprint": counts.fingerprint,
    }


def totals_text(opened: Opened, choice: Choice) -> str:
    """The books of the split in a line, and what to type next."""
    from luthier.cli.prepare import split_text

    if choice.step is not None:
        look_on = f"--step {choice.step} --tokens"
    else:
        look_on = "--split validation --tokens" if opened.split is Split.VALIDATION else "--step 1"
    return (
        f"{opened.split.value}: {split_text(opened.counts)}\n"
        f"next: luthier data show {opened.typed} {look_on}; then luthier train {opened.typed}"
    )


def _usage(what: str, fix: str) -> Exception:
    from luthier.floor.errors import UsageError

    return UsageError("usage", what, where="the command line", fix=fix)
