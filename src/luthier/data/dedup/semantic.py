"""Drop rows that mean what an earlier row means, as far as a static embedding model can tell: optional, and the coarsest pass.

The rule is SemHash's (github.com/MinishLab/semhash): a row goes if its cosine with one that stays is at least a bound. SemHash
searches an approximate index by native code of its own; here every pair is compared, block by block, so that the result is the
same each time. Rows with conflicting answers and rows with different short answers stay, as among near rows.

Axes: N rows, D numbers of a vector, R rows of a block, H rows that stay.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from luthier.data.alike.wording import Wording, label_key
from luthier.data.dedup.columns import Array, Columns
from luthier.data.dedup.embed import Embedder
from luthier.data.dedup.exact import conflicts
from luthier.data.dedup.judge import Judge
from luthier.data.dedup.table import INTERRUPTED, Table
from luthier.data.dedup.verdict import EXACT, NEAR, NONE, SEMANTIC, Verdict
from luthier.floor.errors import DataError
from luthier.floor.log import Listener
from luthier.floor.stop import StopFlag

ROWS_AT_ONCE = 512
STAYING_AT_ONCE = 16_384  # 512 by 16,384 numbers of 32 bits: 32 MiB
# A product of matrices adds in another order than one of two vectors: what is this close is worked out for the two alone.
SLACK = 1e-4


@dataclass(frozen=True)
class Semantic:
    """How rows are compared by what they mean."""

    embedder: Embedder
    similarity: float
    """The cosine from which a row goes."""
    folder: Path
    """Where vectors go that do not fit into memory."""


def drop_semantic(
    semantic: Semantic,
    table: Table,
    verdict: Verdict,
    judge: Judge,
    *,
    budget_bytes: int,
    listener: Listener,
    stop: StopFlag,
) -> None:
    """Drop each source row that means what an earlier one that stays means; what repeated it repeats that one then."""
    among_N = np.zeros(len(table), dtype=bool)
    among_N[: table.first_against] = verdict.is_kept_S
    for rows in conflicts(table, verdict.is_kept_S, budget_bytes=budget_bytes):
        among_N[rows] = False
    rows_N = np.flatnonzero(among_N)
    if len(rows_N) < 2:
        return
    folder = semantic.folder / "vectors"
    folder.mkdir(parents=True, exist_ok=True)
    with Columns(folder, budget_bytes=budget_bytes) as columns:
        for start in range(0, len(rows_N), ROWS_AT_ONCE):
            stop.check(INTERRUPTED, fix="Repeat the command.")
            wordings = [judge.read(row) for row in rows_N[start : start + ROWS_AT_ONCE].tolist()]
            _need_text(wordings)
            columns.append("vectors", semantic.embedder.embed([each.body for each in wordings]))
            columns.append("labels", np.array([label_key(each) for each in wordings], dtype=np.int64))
            listener.progress("embed", min(start + ROWS_AT_ONCE, len(rows_N)), len(rows_N))
        found = columns.close()
        for row, other, cosine in _repeats(found["vectors"], found["labels"], semantic, listener, stop):
            verdict.drop(int(rows_N[row]), SEMANTIC, int(rows_N[other]), cosine)
    _follow(verdict, table.first_against)


def _need_text(wordings: Sequence[Wording]) -> None:
    """Raise DataError (data-field) for rows of tokens, whose ids mean nothing to an embedding."""
    if not all(each.is_text for each in wordings):
        raise DataError(
            "data-field",
            "the rows are tokens, and meanings are those of words",
            fix="Compare the rows that they were made of, or compare their ids: leave --semantic out.",
        )


def _repeats(
    vectors_ND: Array, labels_N: Array, semantic: Semantic, listener: Listener, stop: StopFlag
) -> Iterator[tuple[int, int, float]]:
    """Each place that goes, the place that stays for it, and their cosine."""
    stays = np.empty(0, dtype=np.int64)
    count = len(labels_N)
    for start in range(0, count, ROWS_AT_ONCE):
        stop.check(INTERRUPTED, fix="Repeat the command.")
        block = np.arange(start, min(start + ROWS_AT_ONCE, count))
        found = _first_alike(vectors_ND, labels_N, block, stays, semantic.similarity)
        yield from ((row, other, cosine) for row, (other, cosine) in found.items())
        stays = np.concatenate([stays, [row for row in block.tolist() if row not in found]]).astype(np.int64)
        listener.progress("compare meanings", int(block[-1]) + 1, count, f"{len(stays):,} rows stay")


def _first_alike(
    vectors_ND: Array, labels_N: Array, block: Array, stays: Array, similarity: float
) -> dict[int, tuple[int, float]]:
    """Of rows of a block, each with the first that stays and means the same, and their cosine."""
    found: dict[int, tuple[int, float]] = {}
    block_RD = np.asarray(vectors_ND[block])
    pieces = [stays[start : start + STAYING_AT_ONCE] for start in range(0, len(stays), STAYING_AT_ONCE)]
    for piece in [*pieces, block]:
        cosines_RH = block_RD @ np.asarray(vectors_ND[piece]).T
        is_alike_RH = (cosines_RH >= similarity - SLACK) & (labels_N[block][:, None] == labels_N[piece])
        for place in np.flatnonzero(is_alike_RH.any(axis=1)).tolist():
            row = int(block[place])
            for other in piece[np.flatnonzero(is_alike_RH[place])].tolist():
                if row in found or other >= row:
                    break
                cosine = float(
                    np.dot(vectors_ND[row].astype(np.float64), vectors_ND[other].astype(np.float64))
                )
                if other not in found and cosine >= similarity:
                    found[row] = other, min(cosine, 1.0)
    return found


def _follow(verdict: Verdict, rows: int) -> None:
    """Let exact and near repeats of a row that went by its meaning repeat the one that stays, through it."""
    for row in np.flatnonzero((verdict.kind_S == EXACT) | (verdict.kind_S == NEAR)).tolist():
        twin = int(verdict.repeats_S[row])
        if twin >= rows or verdict.kind_S[twin] != SEMANTIC:
            continue
        if verdict.via_S[row] == NONE:
            verdict.via_S[row], verdict.via_jaccard_S[row] = twin, verdict.jaccard_S[row]
        verdict.repeats_S[row], verdict.jaccard_S[row] = verdict.repeats_S[twin], verdict.jaccard_S[twin]
        verdict.is_cosine_S[row] = True
