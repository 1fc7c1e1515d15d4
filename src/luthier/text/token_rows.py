"""Rows that came as tokens: end to end as training takes them, their ids held against the tokenizer.

Nothing is added: what another program wrote stands as it is, BOS and EOS too. Axes: N rows, T tokens of several rows end to end.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from luthier.text.problems import LineFault, Problems
from luthier.text.row import Row, Tokens


def tokens_of(row: Row) -> Tokens:
    """The tokens of a row that came as such."""
    assert row.tokens is not None, f"a row of {row.kind} has no tokens"
    return row.tokens


def ids_of(tokens: bytes) -> list[int]:
    """Ids as numbers."""
    ids: list[int] = np.frombuffer(tokens, dtype=np.uint32).tolist()
    return ids


def join_tokens(
    rows: Sequence[Row], *, vocabulary_size: int
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Ids, which of them are learnt, and the rows' lengths.

    Raises DataError (data-field) naming the rows that hold an id beyond the vocabulary.
    """
    listed = [tokens_of(row) for row in rows]
    ids_T = np.frombuffer(b"".join(each.ids for each in listed), dtype=np.uint32)
    learnt_T = np.frombuffer(bytearray().join(each.learnt for each in listed), dtype=np.bool_)
    lengths_N = np.array([len(each) for each in listed], dtype=np.int64)
    if ids_T.max(initial=0) >= vocabulary_size:
        problems = Problems()
        for row, fault in _beyond(rows, vocabulary_size):
            problems.add(row.origin, fault)
        problems.raise_if_any()
    return ids_T, learnt_T, lengths_N


def _beyond(rows: Sequence[Row], vocabulary_size: int) -> Iterator[tuple[Row, LineFault]]:
    for row in rows:
        ids_T = np.frombuffer(tokens_of(row).ids, dtype=np.uint32)
        places = np.flatnonzero(ids_T >= vocabulary_size)
        if len(places):
            what = f"the id {ids_T[places[0]]} (token {places[0]} of the row) is beyond the vocabulary of {vocabulary_size:,}"
            fix = "Tokenize the rows with the tokenizer of model.name, or name the model whose tokenizer wrote them."
            yield row, LineFault("data-field", what, fix=fix)
