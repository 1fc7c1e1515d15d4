"""Say what a preparation would come to from one reading of the rows: all are counted, some are tokenized.

Tokens are guessed from those of rows that the seed draws, in proportion to characters, before anything is cleaned or left out.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from luthier.floor.log import Listener
from luthier.floor.stop import StopFlag
from luthier.floor.units import count_of
from luthier.reports.data import TokensGuessed
from luthier.text.render import Renderer
from luthier.text.rows import Row

DRAWN_ROWS = 1000
# Rows beyond it are counted and not drawn, so that what is held stays small; they have the tokens a character of the others.
MOST_DRAWN_CHARACTERS = 50_000
ROWS_BETWEEN_LOOKS = 2000
INTERRUPTED = "the dry run was interrupted"


@dataclass
class Foreseen:
    """Rows as they were counted, and those that were drawn of them."""

    rows: int = 0
    size: int = 0
    """Characters of all rows, or their tokens where they are tokens already."""
    drawn: list[Row] = field(default_factory=list)


def count_rows(
    rows: Iterable[Row], *, total_bytes: int, seed: int, listener: Listener, stop: StopFlag
) -> Foreseen:
    """Count rows and draw some, each with the same chance (Vitter's algorithm R). Raises DataError as reading does."""
    chance, found, candidates = random.Random(seed), Foreseen(), 0
    for row in rows:
        found.rows += 1
        size = _size(row)
        found.size += size
        if found.rows % ROWS_BETWEEN_LOOKS == 0:
            stop.check(INTERRUPTED, fix="Repeat the command.")
            if found.size < total_bytes:  # what packed files hold is guessed
                listener.progress("count", found.size, total_bytes, count_of(found.rows, "row"))
        if size > MOST_DRAWN_CHARACTERS:
            continue
        candidates += 1
        if len(found.drawn) < DRAWN_ROWS:
            found.drawn.append(row)
        elif (place := chance.randrange(candidates)) < DRAWN_ROWS:
            found.drawn[place] = row
    return found


def guess_tokens(found: Foreseen, renderer: Renderer, max_length: int) -> TokensGuessed | None:
    """Of all rows; None if none could be drawn. Raises DataError naming a drawn row that its template refuses."""
    size = sum(map(_size, found.drawn))
    if not size:
        return None
    block = renderer.render_block(found.drawn)
    times = found.size / size
    too_long = int(np.count_nonzero(block.lengths_N > max_length))
    return TokensGuessed(
        rows_drawn=len(found.drawn),
        tokens=round(len(block.ids_T) * times),
        trained_tokens=round(int(block.trained_T.sum()) * times),
        rows_too_long=round(too_long * found.rows / len(found.drawn)),
    )


def _size(row: Row) -> int:
    return len(row.tokens) if row.tokens is not None else sum(map(len, row.texts()))
