"""A ledger for data reports that tests write by hand."""

from luthier.reports.data import SplitCounts
from luthier.reports.ledger import Account, SplitName, StageBooks


def ledger_of(train: SplitCounts, validation: SplitCounts | None = None) -> list[StageBooks]:
    """Books in which every row and token came in and was kept."""
    rows = train.rows_in + (validation.rows_in if validation else 0)
    stages = [
        StageBooks(stage="read", bytes=0, rows=all_kept(rows)),
        StageBooks(stage="split", rows=all_kept(rows)),
    ]
    stages += _stages("train", train)
    return stages + (_stages("validation", validation) if validation else [])


def all_kept(count: int) -> Account:
    """Nothing was lost."""
    return Account(came_in=count, kept=count)


def _stages(split: SplitName, counts: SplitCounts) -> list[StageBooks]:
    accounts = {
        "rows": all_kept(counts.rows_in),
        "tokens": all_kept(counts.tokens),
        "trained_tokens": all_kept(counts.trained_tokens),
    }
    return [
        StageBooks(stage="rendered", split=split, **accounts),
        StageBooks(stage="fitted", split=split, **accounts),
    ]
