"""Refuse to train on data whose books do not balance, or whose tokens are not those that the books speak of."""

from collections.abc import Iterator

from luthier.config.recipe import Recipe
from luthier.reports.data import DataReport
from luthier.reports.ledger import Account, StageBooks, check_ledger, unbalanced
from luthier.tokens.epoch import packed_books
from luthier.tokens.row_order import RowOrder
from luthier.tokens.store import TokenStore


def balanced_order(recipe: Recipe, report: DataReport, store: TokenStore) -> RowOrder:
    """The steps of a run over a store whose books balance; raises DataError (data-books) if they do not."""
    order = RowOrder(store.lengths, recipe)
    check_books(report, store, order)
    return order


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
