"""Put rows on sides by what they ask, or by what they belong to, not by where they stand.

The side of a row depends on the seed and its own key alone: adding, removing or moving other rows changes nothing, and rows of
one key are never on two sides. The key is what the row asks, case and signs aside, or its group where a recipe names one.

Stratified, each stratum gives its share exactly, as far as keys of several rows allow: of its keys those with the smallest
hashes. So the bound between sides lies between two rows, and moves when rows are added: a new row changes the side of at most
one other key of its stratum a side.
"""

import hashlib
from array import array
from collections.abc import Iterable, Mapping
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from luthier.data.alike.wording import fold
from luthier.data.question import question_or_all
from luthier.floor.errors import DataError
from luthier.text.rows import Row

Side = Literal["train", "validation", "test"]
SIDES: tuple[Side, ...] = ("train", "validation", "test")
BITS = 64


class Keys:
    """A number of 64 bits for the key of a row, the same wherever the row stands."""

    def __init__(self, *, seed: int, by_group: bool = False) -> None:
        self._salt = hashlib.sha256(f"split:{seed}".encode()).digest()
        self._by_group = by_group

    def number(self, row: Row) -> int:
        """Evenly spread from 0 to 2**64 - 1."""
        # Folded as the check and the search for leaks fold, or a split would make what they call a leak.
        key = row.group if self._by_group else fold(question_or_all(row))
        digest = hashlib.blake2b(key.encode(), digest_size=BITS // 8, key=self._salt).digest()
        return int.from_bytes(digest, "big")


class Splitter(Protocol):
    """Decides the side of a row."""

    def side(self, row: Row) -> Side:
        """Where the row goes."""
        ...


class HashSplitter:
    """Of many different keys, `validation` and `test` of them go to those sides."""

    def __init__(self, keys: Keys, *, validation: float, test: float = 0.0) -> None:
        assert 0 <= validation + test <= 1, f"shares of {validation} and {test}"
        self._keys = keys
        self._validation_end = round(validation * 2**BITS)
        self._test_end = round((validation + test) * 2**BITS)

    def side(self, row: Row) -> Side:
        """By the key's number alone."""
        if not self._test_end:
            return "train"
        number = self._keys.number(row)
        if number < self._validation_end:
            return "validation"
        return "test" if number < self._test_end else "train"


class StratifiedSplitter:
    """Exact shares of every stratum; it has to see all rows once before it knows. 17 bytes a key."""

    def __init__(self, rows: Iterable[Row], keys: Keys, *, validation: float, test: float = 0.0) -> None:
        self._keys = keys
        numbers, strata = array("Q"), array("q")
        self.strata: dict[str, int] = {}
        for row in rows:
            numbers.append(keys.number(row))
            strata.append(self.strata.setdefault(row.stratum, len(self.strata)))
        self._numbers_U, first_U, counts_U = np.unique(
            np.array(numbers, dtype=np.uint64), return_index=True, return_counts=True
        )
        # A key whose rows are of several strata counts to the stratum of its first row.
        strata_U = np.array(strata, dtype=np.int64)[first_U]
        self._sides_U = np.zeros(len(first_U), dtype=np.int8)
        by_stratum = np.argsort(strata_U, kind="stable")  # within a stratum in the order of their numbers
        for units in np.split(by_stratum, np.flatnonzero(np.diff(strata_U[by_stratum])) + 1):
            ends = _ends(np.cumsum(counts_U[units]), (validation, validation + test))
            self._sides_U[units[: ends[0]]] = SIDES.index("validation")
            self._sides_U[units[ends[0] : ends[1]]] = SIDES.index("test")
        for side, share in (("validation", validation), ("test", test)):
            if share and len(self.strata) > 1 and not (self._sides_U == SIDES.index(side)).any():
                raise _too_many_strata(len(self.strata), len(numbers), side, share)

    def side(self, row: Row) -> Side:
        """By the row's place among the keys of its stratum."""
        place = int(np.searchsorted(self._numbers_U, np.uint64(self._keys.number(row))))
        return SIDES[int(self._sides_U[place])]


def _too_many_strata(strata: int, rows: int, side: str, share: float) -> DataError:
    return DataError(
        "data-split",
        f"{rows:,} rows are of {strata:,} strata: a share of {share:g} of each comes to no row for {side}",
        where="stratify_by",
        why="A stratum gives whole rows, so it needs about ten rows for a share of 0.05.",
        fix="Stratify by a field of few values, such as a label, or not at all; or ask for a larger share.",
    )


def _ends(rows_so_far_U: NDArray[np.int64], shares: tuple[float, float]) -> list[int]:
    """For each share so many keys that their rows come nearest to it; equally near, the fewer."""
    total = int(rows_so_far_U[-1]) if len(rows_so_far_U) else 0
    reached = np.concatenate([[0], rows_so_far_U])
    return [int(np.argmin(np.abs(reached - round(share * total)))) for share in shares]


def choose_splitter(
    rows: Iterable[Row],
    *,
    seed: int,
    shares: Mapping[Side, float],
    by_group: bool = False,
    stratified: bool = False,
) -> Splitter:
    """The splitter for these settings; `rows` are gone through only if it is stratified."""
    keys = Keys(seed=seed, by_group=by_group)
    validation, test = shares.get("validation", 0.0), shares.get("test", 0.0)
    if stratified:
        return StratifiedSplitter(rows, keys, validation=validation, test=test)
    return HashSplitter(keys, validation=validation, test=test)
