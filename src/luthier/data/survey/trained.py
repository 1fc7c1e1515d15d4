"""The text of stored rows: what is trained in them, and their tokens one by one for the browser."""

import codecs
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from luthier.data.survey.script_json import script_json
from luthier.reports.survey import SampleRow
from luthier.text.token_text import TokenBytes
from luthier.tokens.store import TokenStore

MOST_TOKENS_SHOWN = 1500
# Of the rows' JSON: a page of some 2 MB opens at once, on a phone as well.
MOST_ROWS_BYTES = 1_500_000


class StoredText:
    """Decodes the rows of a store; the texts are those of the ids, nothing is rendered again."""

    def __init__(
        self, store: TokenStore, token_bytes: TokenBytes, *, control_ids: Sequence[int], split: str
    ) -> None:
        self._store = store
        self._split = split
        self._bytes = token_bytes
        self._control = np.array(control_ids, dtype=np.int64)

    def trained(self, row: int) -> str:
        """What carries loss, without control tokens; parts that lie apart are lines apart."""
        ids, trained = self._store.ids(row), self._store.trained(row)
        is_text_T = trained & ~np.isin(ids, self._control)
        starts = np.flatnonzero(np.diff(is_text_T.astype(np.int8), prepend=0) == 1)
        ends = np.flatnonzero(np.diff(is_text_T.astype(np.int8), append=0) == -1) + 1
        parts = (
            b"".join(map(self._bytes.of, ids[start:end].tolist()))
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        )
        return b"\n".join(parts).decode("utf-8", "replace")

    def sample_row(self, row: int) -> SampleRow:
        """A row for the browser, its first tokens where it is long."""
        ids, trained = self._store.ids(row), self._store.trained(row)
        shown = slice(0, MOST_TOKENS_SHOWN)
        return SampleRow(
            row=row,
            split=self._split,
            origin=self._store.origin(row),
            tokens=list(_texts([self._bytes.of(id) for id in ids[shown].tolist()])),
            trained="".join("1" if each else "0" for each in trained[shown].tolist()),
            token_count=len(ids),
            trained_count=int(trained.sum()),
            tokens_lost=self._store.lost(row)[0],
        )


def _texts(tokens: Sequence[bytes]) -> Iterator[str]:
    """Each token as text; where a character is spread over tokens, the last of them has it."""
    decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
    for place, token in enumerate(tokens):
        yield decoder.decode(token, final=place + 1 == len(tokens))


def choose_sample(store: TokenStore, order_N: npt.NDArray[np.int64], count: int) -> list[int]:
    """The first row, the shortest, the longest, and others in the order drawn by the seed."""
    marked = [0, int(store.lengths_N.argmin()), int(store.lengths_N.argmax())]
    return list(dict.fromkeys([*marked, *order_N[:count].tolist()]))[:count]


def within_budget(rows: Iterator[SampleRow]) -> Iterator[SampleRow]:
    """As many of the rows as a page should hold; the first in any case."""
    held = 0
    for row in rows:
        size = len(script_json(row.tokens))
        if held and held + size > MOST_ROWS_BYTES:
            return
        held += size
        yield row
