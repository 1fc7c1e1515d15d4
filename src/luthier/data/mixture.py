"""How much of each source is seen in an epoch, and the books of it.

A weight of 2 puts each row of a source twice among the training rows, 0.25 a quarter of them once. Which quarter depends on what
the rows say alone: adding, removing or moving other rows changes nothing. Validation rows are never repeated.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from luthier.data.sources import Source
from luthier.reports.data import SourceCounts
from luthier.reports.ledger import Account
from luthier.text.rows import Row
from luthier.tokens.origin import file_of, split_origin
from luthier.tokens.store import TokenStore
from luthier.tokens.text_store import TextStore

BITS = 64
# Apart from the split's hash, so that the rows set apart are a fair share of those that are drawn.
SALT = b"luthier-mixture"
NOT_DRAWN = "not drawn by the weight of its source"
TOKENS_TOLD = ("train_tokens", "train_trained_tokens", "token_share")


@dataclass
class SourceBooks:
    """The running counts of one source: rows_in + rows_repeated = rows_not_drawn + the copies that went on."""

    rows_in: int = 0
    rows_not_drawn: int = 0
    rows_repeated: int = 0


class Mixture:
    """Decides how many copies of a row go on, and counts rows and tokens by source."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._books = [SourceBooks() for _ in sources]
        self._number_of = {
            str(file): number for number, source in enumerate(sources) for file in source.rows.files
        }

    def copies(self, row: Row, *, is_validation: bool) -> int:
        """How often the row goes on; at most once if it is for validation."""
        number = self._number(row.origin)
        books, weight = self._books[number], self._sources[number].weight
        whole, part = divmod(weight, 1)
        copies = int(whole) + (part > 0 and _fraction_of(row) < part)
        copies = min(copies, 1) if is_validation else copies
        books.rows_in += 1
        books.rows_not_drawn += copies == 0
        books.rows_repeated += max(copies - 1, 0)
        return copies

    def account(self, *, came_in: int) -> Account:
        """The ledger's account of the step into which so many rows came, those of `validation_path` among them."""
        added = sum(books.rows_repeated for books in self._books)
        not_drawn = sum(books.rows_not_drawn for books in self._books)
        dropped = {NOT_DRAWN: not_drawn} if not_drawn else {}
        return Account(came_in=came_in, added=added, kept=came_in + added - not_drawn, dropped=dropped)

    def counts(self, train: TokenStore | TextStore) -> dict[str, SourceCounts]:
        """The books as a report holds them, by the names of the sources; tokens are those of the finished training store."""
        numbers_S = np.asarray([self._number_of[file_of(name)] for name in train.sources], dtype=np.int64)
        part_N = numbers_S[train.source_numbers_N]

        def sums(values_N: np.ndarray | None) -> list[int]:
            found = np.bincount(part_N, weights=values_N, minlength=len(self._sources))
            return [int(each) for each in found]

        rows = sums(None)
        counted: list[dict[str, Any]] = [dict.fromkeys(TOKENS_TOLD) for _ in self._sources]
        if isinstance(train, TokenStore):
            tokens, trained = sums(train.lengths_N), sums(train.trained_counts_N)
            shares = [each / max(train.tokens, 1) for each in tokens]
            counted = [
                dict(zip(TOKENS_TOLD, told, strict=True))
                for told in zip(tokens, trained, shares, strict=True)
            ]
        return {
            source.name: SourceCounts(
                weight=source.weight,
                files=len(source.rows.files),
                rows_in=books.rows_in,
                rows_not_drawn=books.rows_not_drawn,
                rows_repeated=books.rows_repeated,
                train_rows=rows[number],
                **counted[number],
            )
            for number, (source, books) in enumerate(zip(self._sources, self._books, strict=True))
        }

    def _number(self, origin: str) -> int:
        found = split_origin(origin)
        assert found is not None, f"{origin!r} is no origin"
        return self._number_of[file_of(found[0])]


def _fraction_of(row: Row) -> float:
    """A number from 0 to below 1 that depends on nothing but what the row says."""
    turns = [(message.role, message.content) for message in row.messages]
    said = repr((row.prompt, row.completion, row.text, turns)).encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(said, digest_size=BITS // 8, key=SALT).digest()
    return float(int.from_bytes(digest, "big") / 2**BITS)
