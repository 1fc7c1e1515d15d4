"""What became of every row, and why: the books of a deduplication."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from luthier.data.dedup.columns import Array

KEPT = 0
KINDS = ("kept", "exact", "near", "against-exact", "against-near", "semantic")
EXACT, NEAR, AGAINST_EXACT, AGAINST_NEAR, SEMANTIC = range(1, 6)
NONE = -1


@dataclass(frozen=True)
class Verdict:
    """For each source row its kind, the row that stays in its place, and how alike they are. S: source rows."""

    kind_S: Array
    repeats_S: Array
    """The row that stays; NONE for a kept row."""
    jaccard_S: Array
    via_S: Array
    """Of an exact copy of a row that was dropped too: that one; else NONE."""
    via_jaccard_S: Array
    is_cosine_S: Array
    """Whether `jaccard_S` is a cosine of two vectors: of rows that went by their meaning, and of what repeats them."""

    @classmethod
    def all_kept(cls, rows: int) -> "Verdict":
        """Before anything is compared."""
        return cls(
            np.zeros(rows, dtype=np.int8),
            np.full(rows, NONE, dtype=np.int64),
            np.zeros(rows, dtype=np.float64),
            np.full(rows, NONE, dtype=np.int64),
            np.zeros(rows, dtype=np.float64),
            np.zeros(rows, dtype=bool),
        )

    def drop(self, row: int, kind: int, repeats: int, jaccard: float) -> None:
        """Leave a row out."""
        assert self.kind_S[row] == KEPT, f"row {row} is dropped twice"
        self.kind_S[row], self.repeats_S[row], self.jaccard_S[row] = kind, repeats, jaccard
        self.is_cosine_S[row] = kind == SEMANTIC

    @property
    def is_kept_S(self) -> Array:
        """Which source rows stay."""
        return np.asarray(self.kind_S == KEPT)

    def counts(self) -> dict[str, int]:
        """Dropped rows by kind; with the kept ones they are all rows."""
        found = Counter(self.kind_S.tolist())
        assert sum(found.values()) == len(self.kind_S)
        return {name: found[number] for number, name in enumerate(KINDS) if number != KEPT and found[number]}


def measure_of(verdict: Verdict, row: int) -> str:
    """What a dropped row's likeness is called where it is written."""
    return "cosine" if verdict.is_cosine_S[row] else "jaccard"
