"""Refuse to train on data whose books do not balance, or whose tokens are not those that the books speak of."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from luthier.config.recipe import Recipe
from luthier.encoding.books import BEYOND
from luthier.encoding.dropped import DroppedRows
from luthier.encoding.on_the_fly import OnTheFlyRows
from luthier.encoding.open import PreparedRows
from luthier.encoding.outcomes import IS_KEPT, REASONS
from luthier.floor.errors import DataError
from luthier.reports.data import DataReport
from luthier.reports.ledger import Account, StageBooks, check_ledger, unbalanced
from luthier.tokens.epoch import packed_books
from luthier.tokens.row_order import RowOrder
from luthier.tokens.store import TokenStore

if TYPE_CHECKING:
    from luthier.train.loop import Job


# In the train stage's folder of a run: what became of rows that are tokenized on the fly.
OUTCOMES = "outcomes.bin"


def balanced_order(recipe: Recipe, report: DataReport, rows: PreparedRows) -> RowOrder:
    """The steps of a run over rows whose books balance.

    Raises DataError: data-books if they do not, data-untrained if no token carries loss.
    """
    order = RowOrder(rows.lengths, recipe)
    if isinstance(rows, OnTheFlyRows):
        check_row_books(report, rows)
        return order
    if rows.trained_tokens == 0:
        raise DataError(
            "data-untrained",
            "no token of the training rows carries loss",
            where=str(rows.folder),
            fix="Look at what was prepared: luthier prepare RECIPE --again",
        )
    check_books(report, rows, order)
    return order


def check_row_books(report: DataReport, rows: OnTheFlyRows) -> None:
    """Raise DataError (data-books) if rows went astray before there are tokens to count."""
    check_ledger(report.ledger)
    rendered = next(
        (each for each in report.ledger if (each.stage, each.split) == ("rendered", "train")), None
    )
    kept = rendered.rows.kept if rendered else 0
    if kept != rows.rows:
        raise unbalanced(
            [f"the books say that {kept:,} rows were kept for training, and the store holds {rows.rows:,}"]
        )


def close_books(job: "Job", rows: OnTheFlyRows, steps: int) -> StageBooks:
    """What became of rows that so many steps reached, and which lost something: written to dropped.jsonl beside the report."""
    outcomes = rows.outcomes
    is_reached_N = job.order.reached(steps) | outcomes.is_left_out_N()
    with DroppedRows(job.run.stage("train")) as dropped:
        for row in outcomes.not_whole(is_reached_N).tolist():
            state, (tokens, trained) = outcomes.state(row), outcomes.lost(row)
            dropped.write(
                "fitted",
                REASONS.get(state, BEYOND),
                rows.origin(row),
                split="train",
                is_kept=state == IS_KEPT,
                tokens=tokens,
                trained_tokens=trained,
            )
    books = outcomes.tally(is_reached_N).close("fitted", "train")
    if faults := list(books.faults()):
        raise unbalanced(faults)
    return books


def check_books(report: DataReport, store: TokenStore, order: RowOrder) -> None:
    """Raise DataError (data-books) with every two numbers that should be one.

    The ledger must balance in itself; what it says was kept must lie in the store, counted anew; and the packs of an epoch must
    hold what the store holds.
    """
    check_ledger(report.ledger)
    fitted = next((each for each in report.ledger if (each.stage, each.split) == ("fitted", "train")), None)
    faults = ["the ledger lacks the stage fitted (train)"] if fitted is None else []
    packed = packed_books(store, order)
    if fitted is not None:
        faults += _differences(fitted, packed)
    faults += packed.faults()
    if packed.rows.left_out:
        faults.append(
            f"the packs of an epoch leave out {packed.rows.left_out:,} of {packed.rows.came_in:,} rows"
        )
    if faults:
        raise unbalanced(faults)


def _differences(fitted: StageBooks, packed: StageBooks) -> Iterator[str]:
    """What the books say was kept, against what is in the store."""
    pairs: tuple[tuple[str, Account | None, Account | None], ...] = (
        ("rows", fitted.rows, packed.rows),
        ("tokens", fitted.tokens, packed.tokens),
        ("trained tokens", fitted.trained_tokens, packed.trained_tokens),
    )
    for what, said, found in pairs:
        if said is None or found is None or said.kept != found.came_in:
            kept, there = said.kept if said else 0, found.came_in if found else 0
            yield f"the books say that {kept:,} {what} were kept for training, and the store holds {there:,}"
