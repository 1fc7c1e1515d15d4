"""Count what the packs of one epoch hold, row by row: the last stage of the ledger, and what training is held to."""

import numpy as np

from luthier.reports.ledger import Account, StageBooks
from luthier.tokens.row_order import RowOrder
from luthier.tokens.store import TokenStore

LEFT_OUT = "not in a pack of the epoch"


def packed_books(store: TokenStore, order: RowOrder) -> StageBooks:
    """How the first epoch of an order packs the rows of a store. Each row should be in one pack, once."""
    times_N = np.zeros(store.rows, dtype=np.int64)
    number, ends = 0, False
    while not ends:
        step = order.step(number)
        for rows in step.micro_batches:
            np.add.at(times_N, rows, 1)
        number, ends = number + 1, step.ends_epoch
    return StageBooks(
        stage="packed",
        split="train",
        rows=_account(times_N, np.ones(store.rows, dtype=np.int64)),
        tokens=_account(times_N, store.lengths_N),
        trained_tokens=_account(times_N, store.trained_counts_N),
    )


def _account(times_N: np.ndarray, worth_N: np.ndarray) -> Account:
    left_out = int(worth_N[times_N == 0].sum())
    return Account(
        came_in=int(worth_N.sum()),
        added=int((np.maximum(times_N - 1, 0) * worth_N).sum()),
        kept=int((times_N * worth_N).sum()),
        dropped={LEFT_OUT: left_out} if left_out else {},
    )
