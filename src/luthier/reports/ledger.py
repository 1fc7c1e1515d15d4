"""The ledger of prepared data: what came into each stage, what it kept, and what it left out for which reason.

Rows and tokens are counted apart. An account balances if what came in and what was added is what was kept and what was dropped;
the ledger balances if every account does and each stage takes in what the one before it kept.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal

from pydantic import BaseModel, ConfigDict

from luthier.floor.errors import DataError

Stage = Literal["read", "cleaned", "deduplicated", "leaks", "split", "rendered", "fitted", "packed"]
SplitName = Literal["train", "validation"]


class Account(BaseModel):
    """One kind of thing through one stage: `came_in + added = kept + the sum of dropped`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    came_in: int
    added: int = 0
    """Rows that one row was cut into, beyond the first."""
    kept: int
    dropped: dict[str, int] = {}
    """By reason."""

    @property
    def left_out(self) -> int:
        """All that was dropped."""
        return sum(self.dropped.values())

    def fault(self, what: str) -> str | None:
        """The two numbers that should be one, in words; None if they are."""
        came, went = self.came_in + self.added, self.kept + self.left_out
        if came == went and min(self.came_in, self.added, self.kept, *self.dropped.values()) >= 0:
            return None
        return f"{what}: {came:,} came in, {went:,} were kept or dropped"


class StageBooks(BaseModel):
    """What one stage did, to all rows or to those of one split."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    stage: Stage
    split: SplitName | None = None
    """None for stages before the split."""
    bytes: int | None = None
    """Of the files, where rows are read."""
    rows: Account
    tokens: Account | None = None
    """None before there are tokens."""
    trained_tokens: Account | None = None
    """Those of the tokens that carry loss."""

    @property
    def name(self) -> str:
        """`fitted (train)`"""
        return f"{self.stage} ({self.split})" if self.split else self.stage

    def faults(self) -> Iterator[str]:
        """What does not balance within the stage."""
        accounts = (("rows", self.rows), ("tokens", self.tokens), ("trained tokens", self.trained_tokens))
        for what, account in accounts:
            if account and (fault := account.fault(f"{self.name}, {what}")):
                yield fault


Ledger = Sequence[StageBooks]


def check_ledger(ledger: Ledger) -> None:
    """Raise DataError (data-books) naming every two numbers that should be one."""
    faults = [fault for books in ledger for fault in books.faults()]
    shared = [books for books in ledger if books.split is None]
    for before, after in pairwise(shared):
        faults += _handed_on(before, after)
    for split in ("train", "validation"):
        own = [books for books in ledger if books.split == split]
        for before, after in pairwise(own):
            faults += _handed_on(before, after)
    heads = [next((b for b in ledger if b.split == split), None) for split in ("train", "validation")]
    split_rows = sum(books.rows.came_in for books in heads if books)
    if shared and split_rows != shared[-1].rows.kept:
        faults.append(
            f"{shared[-1].name} handed on {shared[-1].rows.kept:,} rows, {split_rows:,} came into the splits"
        )
    if not shared or heads[0] is None:
        faults.append("the ledger lacks its stages")
    if faults:
        raise unbalanced(faults)


def unbalanced(faults: Sequence[str]) -> DataError:
    """The refusal to train on data whose books do not balance."""
    return DataError(
        "data-books",
        faults[0] if len(faults) == 1 else f"the books of the data are off in {len(faults)} places",
        where="the ledger of the data report",
        problems=[] if len(faults) == 1 else faults,
        why="Rows or tokens were lost or won without a reason being told, so nobody knows what would be trained.",
        fix="Prepare the data again: luthier prepare RECIPE --again",
    )


def _handed_on(before: StageBooks, after: StageBooks) -> Iterator[str]:
    """What a stage kept must be what the next one takes in."""
    pairs = (
        ("rows", before.rows, after.rows),
        ("tokens", before.tokens, after.tokens),
        ("trained tokens", before.trained_tokens, after.trained_tokens),
    )
    for what, kept, came in pairs:
        if kept and came and kept.kept != came.came_in:
            yield f"{before.name} kept {kept.kept:,} {what}, {came.came_in:,} came into {after.name}"
