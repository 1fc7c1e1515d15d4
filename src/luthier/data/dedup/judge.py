"""Decide pairs by reading both rows again."""

from collections import OrderedDict
from typing import Protocol

from luthier.data.alike.wording import Shingle, Wording, jaccard, label_of, shingles_of, tokens_of
from luthier.data.dedup.table import Table

# About 150 bytes a shingle: 150 MB at most, or one row where that is larger.
MOST_SHINGLES_HELD = 1_000_000

Looked = tuple[frozenset[Shingle], tuple[str, ...] | None]


class WordingReader(Protocol):
    """Reads the texts of a row again."""

    def wording(self, file: int, offset: int) -> Wording:
        """Those of the row that starts there."""
        ...


class Judge:
    """The exact Jaccard of two rows, read again; keeps the rows seen last."""

    def __init__(self, table: Table, reader: WordingReader, threshold: float) -> None:
        self.threshold = threshold
        self.pairs_compared = 0
        self.pairs_confirmed = 0
        self._table = table
        self._reader = reader
        self._held: OrderedDict[int, Looked] = OrderedDict()
        self._shingles_held = 0

    def near(self, i: int, j: int, *, labels_count: bool) -> float | None:
        """The Jaccard if it reaches the threshold; with `labels_count`, rows with different labels are never near."""
        (left, left_label), (right, right_label) = self._look(i), self._look(j)
        self.pairs_compared += 1
        found = jaccard(left, right)
        if found < self.threshold or (labels_count and left_label != right_label):
            return None
        self.pairs_confirmed += 1
        return found

    def read(self, row: int) -> Wording:
        """The texts of a row."""
        return self._reader.wording(int(self._table.file_N[row]), int(self._table.offset_N[row]))

    def _look(self, row: int) -> Looked:
        if row in self._held:
            self._held.move_to_end(row)
            return self._held[row]
        wording = self.read(row)
        looked = shingles_of(tokens_of(wording.body)), label_of(wording)
        self._held[row] = looked
        self._shingles_held += len(looked[0])
        while self._shingles_held > MOST_SHINGLES_HELD and len(self._held) > 2:
            self._shingles_held -= len(self._held.popitem(last=False)[1][0])
        return looked
