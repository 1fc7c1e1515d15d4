"""Rows to train on that are tokenized as their order reaches them, some way ahead, by a thread of their own.

Fulfils what tokens/rows.py asks for. The order of an epoch is followed in stretches: a step's rows, or a window that packs are
made of. What lies behind the last two stretches is let go of; whoever asks for rows elsewhere (a resumed run, a command that
shows a row) gets them tokenized then. Nothing depends on what was asked before but the time it takes.
"""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from luthier.encoding.encoder import EncodedRows, RowEncoder
from luthier.encoding.outcomes import Outcomes
from luthier.floor.log import Listener
from luthier.floor.units import count_of
from luthier.tokens.flat_files import Array
from luthier.tokens.lengths import Numbers

# Some 300 k tokens, a third of a second for one core: ready before a step is done, and little to hold.
CHUNK_BYTES = 2**20
CHUNK_ROWS = 2048
CHUNKS_AHEAD = 2
CHUNKS_BEFORE_TELLING = 8


@dataclass(frozen=True)
class _Stretch:
    """`order_N[start:stop]`"""

    order_N: Numbers
    start: int
    stop: int

    def holds(self, row: int) -> bool:
        return bool((self.order_N[self.start : self.stop] == row).any())


@dataclass
class _Chunk:
    """A part of the order, on its way or there."""

    start: int
    stop: int
    encoding: Future[EncodedRows]
    rows: EncodedRows | None = None


class OnTheFlyRows:
    """Rows by number, tokenized when they are needed. Close it, or use it as a context manager."""

    are_known = False
    """Lengths are work."""

    def __init__(self, encoder: RowEncoder, outcomes: Outcomes, *, longest: int, listener: Listener) -> None:
        self.outcomes = outcomes
        self.longest = longest
        self.texts = encoder.texts
        self.rows = self.texts.rows
        self.sources = self.texts.sources
        self.fingerprint = self.texts.fingerprint
        self._encoder = encoder
        self._listener = listener
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tokenize")
        self._stretches: deque[_Stretch] = deque(maxlen=2)
        self._chunks: deque[_Chunk] = deque()
        self._order_N: Numbers = np.empty(0, dtype=np.int64)
        self._held: dict[int, tuple[Array, Array]] = {}
        self._asked: tuple[int, EncodedRows] | None = None

    @property
    def lengths(self) -> "OnTheFlyRows":
        """The rows' lengths, as their order asks for them: those of a stretch are known once it is tokenized."""
        return self

    def along(self, order_N: Numbers, start: int, stop: int) -> Numbers:
        """Tokens of the rows of a stretch; 0 for a row that was left out. Raises DataError as a preparation does."""
        stretch = _Stretch(order_N, start, stop)
        if self._stretches and self._stretches[-1].order_N is order_N and self._stretches[-1].start == start:
            self._stretches.pop()
        self._stretches.append(stretch)
        lengths_S = self.outcomes.lengths(order_N[start:stop])
        if (lengths_S < 0).any():
            self._fetch(stretch)
            lengths_S = self.outcomes.lengths(order_N[start:stop])
        elif self._is_on_the_way(stretch):
            self._go_ahead(stretch)
        return lengths_S

    def ids(self, row: int) -> Array:
        """The token ids of a row that was kept."""
        return self._find(row)[0]

    def trained(self, row: int) -> npt.NDArray[np.bool_]:
        """Which of the row's tokens carry loss."""
        return self._find(row)[1]

    def lost(self, row: int) -> tuple[int, int]:
        """How many tokens were cut off the row, and how many trained tokens it lost by being cut."""
        self._find(row)
        return self.outcomes.lost(row)

    def is_left_out(self, row: int) -> bool:
        """Whether nothing of the row is left to learn from."""
        rows_N = np.asarray([row])
        if self.outcomes.lengths(rows_N)[0] < 0:
            self._ask(row)
        return int(self.outcomes.lengths(rows_N)[0]) == 0

    def origin(self, row: int) -> str:
        """Where the row came from."""
        return self.texts.origin(row)

    def rows_of(self, source: str, line: int) -> list[int]:
        """The rows that came from a line of a source."""
        return self.texts.rows_of(source, line)

    def close(self) -> None:
        """Give up what is under way, and end the thread and the processes that encode."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._encoder.close()
        self.outcomes.close()

    def __enter__(self) -> "OnTheFlyRows":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _find(self, row: int) -> tuple[Array, Array]:
        if row not in self._held:
            stretch = next((each for each in reversed(self._stretches) if each.holds(row)), None)
            if stretch is None:
                return self._ask(row).kept[row]
            self._fetch(stretch)
        return self._held[row]

    def _ask(self, row: int) -> EncodedRows:
        """One row, whatever the order is."""
        if self._asked is None or self._asked[0] != row:
            self._asked = row, self._thread.submit(self._encode, [row]).result()
        return self._asked[1]

    def _fetch(self, stretch: _Stretch) -> None:
        """Wait until the stretch is tokenized; begin with what comes behind it."""
        if not self._is_on_the_way(stretch):
            self._turn_to(stretch)
        self._go_ahead(stretch)
        waited_for = [chunk for chunk in self._chunks if chunk.rows is None and chunk.start < stretch.stop]
        for number, chunk in enumerate(waited_for):
            if number >= CHUNKS_BEFORE_TELLING:
                self._listener.progress(
                    "tokenizing", number, len(waited_for), count_of(chunk.start - stretch.start, "row")
                )
            chunk.rows = chunk.encoding.result()
            self._held |= chunk.rows.kept

    def _is_on_the_way(self, stretch: _Stretch) -> bool:
        return bool(
            self._chunks
            and self._order_N is stretch.order_N
            and self._chunks[0].start <= stretch.start <= self._chunks[-1].stop
        )

    def _turn_to(self, stretch: _Stretch) -> None:
        """Give up the part of the order that was followed, and follow it from this stretch on."""
        for chunk in self._chunks:
            chunk.encoding.cancel()
        self._chunks.clear()
        self._held.clear()
        self._order_N = stretch.order_N
        self._begin(stretch.start)

    def _go_ahead(self, stretch: _Stretch) -> None:
        """Begin with the rest of the stretch and as much again behind it; let go of what lies before the last two."""
        ahead = stretch.stop + (stretch.stop - stretch.start)
        while self._chunks[-1].stop < len(self._order_N):
            behind = sum(chunk.start >= stretch.stop for chunk in self._chunks)
            if self._chunks[-1].stop >= ahead and behind >= CHUNKS_AHEAD:
                break
            self._begin(self._chunks[-1].stop)
        followed = [each.start for each in self._stretches if each.order_N is self._order_N]
        while self._chunks[0].stop <= min(followed) and len(self._chunks) > 1:
            gone = self._chunks.popleft()
            for row in gone.rows.kept if gone.rows else ():
                del self._held[row]

    def _begin(self, start: int) -> None:
        """Begin with the chunk of the order that starts there."""
        rows_N = self._order_N[start : start + CHUNK_ROWS]
        ends_N = np.cumsum(self.texts.bytes_of(rows_N))
        rows_N = rows_N[: max(1, int(np.searchsorted(ends_N, CHUNK_BYTES)))]
        encoding = self._thread.submit(self._encode, rows_N.tolist())
        self._chunks.append(_Chunk(start, start + len(rows_N), encoding))

    def _encode(self, rows: list[int]) -> EncodedRows:
        encoded = self._encoder.encode(rows)
        self.outcomes.note(encoded.rows_N, encoded.records_NR)
        return encoded
