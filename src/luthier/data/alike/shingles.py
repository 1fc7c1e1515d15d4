"""Hash words and shingles: the same number for the same words in every process, so that rows can be held as sets of numbers.

T: words or shingles of a batch in one line, N: rows.
"""

import itertools
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from luthier.data.alike.wording import SHINGLE_TOKENS, pad

MOST_CACHED_WORDS = 300_000  # some 40 MB

Hashes = NDArray[np.uint64]

MULTIPLIERS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64)


class WordHashes(dict[str, int]):
    """64 bits a word, the same in every process; forgets all of them when it has grown large."""

    def __missing__(self, word: str) -> int:
        if len(self) >= MOST_CACHED_WORDS:
            self.clear()
        found = int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "little")
        self[word] = found
        return found


class ShingleHashes:
    """64 bits a shingle, from the tokens of rows."""

    def __init__(self) -> None:
        self._words = WordHashes()

    def hash(self, rows: Sequence[list[str]]) -> tuple[Hashes, Hashes]:
        """The hashes of all rows in one line, and where each row starts, with the end."""
        padded = [pad(tokens) for tokens in rows]
        lengths_N = np.array([len(tokens) for tokens in padded])
        look_up = self._words.__getitem__
        words_T = np.fromiter(
            (look_up(word) for tokens in padded for word in tokens),
            dtype=np.uint64,
            count=int(lengths_N.sum()),
        )
        hashes_T = np.zeros(len(words_T) - SHINGLE_TOKENS + 1, dtype=np.uint64)
        for place, multiplier in enumerate(MULTIPLIERS):
            hashes_T += words_T[place : place + len(hashes_T)] * multiplier
        # The last two tokens of a row start no shingle of it.
        is_inside_T = np.ones(len(words_T), dtype=bool)
        ends_N = np.cumsum(lengths_N)
        is_inside_T[ends_N - 1] = is_inside_T[ends_N - 2] = False
        starts_N = np.concatenate([[0], np.cumsum(lengths_N - SHINGLE_TOKENS + 1)]).astype(np.uint64)
        return mix(hashes_T[is_inside_T[: len(hashes_T)]]), starts_N

    def sets(self, rows: Sequence[list[str]]) -> list[Hashes]:
        """Of each row its different shingles."""
        hashes_T, starts_N = self.hash(rows)
        return [
            np.unique(hashes_T[start:end]) for start, end in itertools.pairwise(starts_N.astype(int).tolist())
        ]


def mix(values: Hashes) -> Hashes:
    """Spread every bit over all of them: the finalizer of splitmix64 (Steele, Lea, Flood 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
