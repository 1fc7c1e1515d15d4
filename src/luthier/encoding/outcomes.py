"""What became of each row when it was tokenized: a record a row, in a file that fills as training goes, or in memory.

What a row becomes depends on nothing but the row and the settings, so a record may be written twice, by whoever comes first, and
a missing one is made again: after a crash nothing has to be mended. A record has 32 bytes, so none of them lies across two
sectors of a disk; the first 32 bytes of the file are the hash of all that decides the others.

Axes: N rows asked for, R numbers of a record.
"""

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from luthier.encoding.books import BEYOND, NO_TRAINED_TOKEN, TOO_LONG, StageTally
from luthier.floor.files import disk_faults

STATE, TOKENS, TRAINED, KEPT, KEPT_TRAINED = range(5)
RECORD_NUMBERS = 8
RECORD_BYTES = 4 * RECORD_NUMBERS
UNKNOWN, IS_KEPT = 0, 1
REASONS = {2: NO_TRAINED_TOKEN, 3: TOO_LONG}
STATE_OF = {reason: state for state, reason in REASONS.items()}
NOT_REACHED = "not reached before the training ended"
ROWS_AT_ONCE = 2**20

Numbers = npt.NDArray[np.int64]
Records = npt.NDArray[np.int32]


class Outcomes:
    """The records of all rows. With a path they are kept there. Raises EnvironmentFault if the disk refuses."""

    def __init__(self, rows: int, *, path: Path | None = None, fingerprint: str = "") -> None:
        self.rows = rows
        self._path = path
        self._file = -1
        if path is None:
            self._records_NR: Records = np.zeros((rows, RECORD_NUMBERS), dtype=np.int32)
            return
        with disk_faults(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
            head, size = bytes.fromhex(fingerprint), RECORD_BYTES * (rows + 1)
            if os.pread(self._file, RECORD_BYTES, 0) != head or os.fstat(self._file).st_size != size:
                os.ftruncate(self._file, 0)
                os.ftruncate(self._file, size)  # a hole: what is not written takes no room and reads as zeros
                os.pwrite(self._file, head, 0)
            mapped = np.memmap(path, dtype="<i4", mode="r", offset=RECORD_BYTES)
        self._records_NR = mapped.reshape(-1, RECORD_NUMBERS)

    def note(self, rows_N: Numbers, records_NR: Records) -> None:
        """Keep what became of rows."""
        if self._path is None:
            self._records_NR[rows_N, : records_NR.shape[1]] = records_NR
            return
        # Written by a call and not through the map: a full disk then is an error and not the end of the process.
        with disk_faults(self._path):
            for row, record in zip(rows_N.tolist(), records_NR.astype("<i4"), strict=True):
                os.pwrite(self._file, record.tobytes(), RECORD_BYTES * (row + 1))

    def lengths(self, rows_N: Numbers) -> Numbers:
        """Tokens that are kept of each row: 0 where it was left out, -1 where nothing is known yet."""
        records_NR = self._records_NR[rows_N]
        return np.where(records_NR[:, STATE] == UNKNOWN, -1, records_NR[:, KEPT]).astype(np.int64)

    def lost(self, row: int) -> tuple[int, int]:
        """Tokens that were cut off a row, and trained tokens that it lost."""
        record = self._records_NR[row].tolist()
        return record[TOKENS] - record[KEPT], record[TRAINED] - record[KEPT_TRAINED]

    def tally(self, is_reached_N: npt.NDArray[np.bool_]) -> StageTally:
        """The books of the rows that were reached, and of those that were left out on the way; the others are counted as rows."""
        books = StageTally()
        for start in range(0, self.rows, ROWS_AT_ONCE):
            records_NR = self._records_NR[start : start + ROWS_AT_ONCE].astype(np.int64)
            is_there_N = is_reached_N[start : start + ROWS_AT_ONCE] & (records_NR[:, STATE] != UNKNOWN)
            _add(books, records_NR[is_there_N])
            books.rows.came_in += len(records_NR)
            books.rows.dropped[NOT_REACHED] += int((~is_there_N).sum())
        return books

    def is_left_out_N(self) -> npt.NDArray[np.bool_]:
        """Of each row, whether it is known that nothing of it is left to learn from."""
        states_N = self._records_NR[:, STATE]
        is_out_N: npt.NDArray[np.bool_] = (states_N != UNKNOWN) & (states_N != IS_KEPT)
        return is_out_N

    def state(self, row: int) -> int:
        """UNKNOWN, IS_KEPT, or one of REASONS."""
        return int(self._records_NR[row, STATE])

    def not_whole(self, is_reached_N: npt.NDArray[np.bool_]) -> Numbers:
        """The numbers of the rows that were left out, or that lost tokens."""
        records_NR = self._records_NR
        lost_N = (records_NR[:, TOKENS] != records_NR[:, KEPT]) | (
            records_NR[:, TRAINED] != records_NR[:, KEPT_TRAINED]
        )
        return np.flatnonzero(is_reached_N & lost_N & (records_NR[:, STATE] != UNKNOWN))

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _add(books: StageTally, records_NR: Numbers) -> None:
    tokens, trained = int(records_NR[:, TOKENS].sum()), int(records_NR[:, TRAINED].sum())
    books.tokens.came_in += tokens
    books.trained_tokens.came_in += trained
    is_kept_N = records_NR[:, STATE] == IS_KEPT
    kept_NR = records_NR[is_kept_N]
    books.rows.kept += len(kept_NR)
    books.tokens.kept += int(kept_NR[:, KEPT].sum())
    books.trained_tokens.kept += int(kept_NR[:, KEPT_TRAINED].sum())
    books.tokens.dropped[BEYOND] += int((kept_NR[:, TOKENS] - kept_NR[:, KEPT]).sum())
    books.trained_tokens.dropped[BEYOND] += int((kept_NR[:, TRAINED] - kept_NR[:, KEPT_TRAINED]).sum())
    for state, reason in REASONS.items():
        gone_NR = records_NR[records_NR[:, STATE] == state]
        books.rows.dropped[reason] += len(gone_NR)
        books.tokens.dropped[reason] += int(gone_NR[:, TOKENS].sum())
        books.trained_tokens.dropped[reason] += int(gone_NR[:, TRAINED].sum())
