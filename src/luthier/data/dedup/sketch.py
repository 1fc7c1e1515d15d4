"""Turn rows into MinHash signatures and band keys (Broder 1997; Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", 3.4).

A signature depends on the row alone, never on the batch, the machine or the order: shingles are hashed here, the same for
every engine, and an engine only takes minima. rensa does it in Rust, datasketch in numpy and some fifty times slower.
"""

import importlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from luthier.data.dedup.wording import SHINGLE_TOKENS, pad
from luthier.floor.errors import EnvironmentFault

# N: rows, K: hash functions, B: bands, T: tokens or shingles of a batch in one line
HASHES = 128
SEED = 20_240_817
RECALL_AT_THRESHOLD = (
    0.995  # of a pair that lies exactly at the threshold; closer pairs are found more surely
)
LOWEST_THRESHOLD = 0.3
MOST_CACHED_WORDS = 300_000  # some 40 MB
# A pair whose signatures agree in fewer places than this many standard deviations below the threshold is passed over.
DEVIATIONS = 5.0

Signatures = NDArray[np.uint32]
Hashes = NDArray[np.uint64]

_MULTIPLIERS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64)


@dataclass(frozen=True)
class Bands:
    """How a signature is cut: two rows meet if all `rows` numbers of one of `count` bands agree."""

    count: int
    rows: int
    threshold: float

    @property
    def fewest_matches(self) -> int:
        """Signatures that agree in fewer places belong to rows below the threshold, but for one pair in a million."""
        deviation = (HASHES * self.threshold * (1 - self.threshold)) ** 0.5
        return max(0, int(HASHES * self.threshold - DEVIATIONS * deviation))


def choose_bands(threshold: float) -> Bands:
    """The longest bands that still find a pair at the threshold with RECALL_AT_THRESHOLD: fewest false candidates."""
    for rows in range(HASHES, 0, -1):
        count = HASHES // rows
        if 1 - (1 - threshold**rows) ** count >= RECALL_AT_THRESHOLD:
            return Bands(count, rows, threshold)
    raise AssertionError(
        f"no bands for a threshold of {threshold}: the command line lets none below {LOWEST_THRESHOLD}"
    )


class Engine(Protocol):
    """Takes minima: the hashes of all rows in one line, and where each row starts."""

    name: str

    def signatures(self, hashes_T: Hashes, starts_N: Hashes) -> Signatures:
        """One row of HASHES numbers for each row; `starts_N` has one more entry, the end."""
        ...


class RensaEngine:
    """rensa's R-MinHash."""

    def __init__(self, rensa: Any) -> None:
        self._take = rensa.RMinHash.digest_matrix_from_flat_token_hashes
        self.name = "rensa"

    def signatures(self, hashes_T: Hashes, starts_N: Hashes) -> Signatures:
        """In Rust, on every core."""
        return np.array(self._take(hashes_T, starts_N, HASHES, SEED).to_rows(), dtype=np.uint32)


class DatasketchEngine:
    """datasketch's MinHash, where rensa has no wheel."""

    def __init__(self, datasketch: Any) -> None:
        self._new = datasketch.MinHash
        self.name = "datasketch"

    def signatures(self, hashes_T: Hashes, starts_N: Hashes) -> Signatures:
        """Row by row in numpy; datasketch reckons with 32 bits, so it gets the upper half."""
        rows = []
        for start, end in itertools.pairwise(starts_N):
            sketch = self._new(num_perm=HASHES, seed=SEED % 2**32, hashfunc=int)
            sketch.update_batch((hashes_T[int(start) : int(end)] >> np.uint64(32)).tolist())
            rows.append(sketch.hashvalues)
        return np.array(rows, dtype=np.uint32)


def find_engine() -> Engine:
    """rensa, else datasketch; raises EnvironmentFault (env-extra) if neither is installed."""
    for name, engine in (("rensa", RensaEngine), ("datasketch", DatasketchEngine)):
        try:
            return engine(importlib.import_module(name))
        except ModuleNotFoundError:
            continue
    raise EnvironmentFault(
        "env-extra",
        "near-duplicates need rensa, which is not installed",
        fix="Type: pip install 'luthier[dedup]' (or, where rensa has no wheel: pip install datasketch); "
        "or look for exact repeats only: --exact-only",
    )


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
        for place, multiplier in enumerate(_MULTIPLIERS):
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


class Sketcher:
    """From the tokens of rows to signatures and band keys."""

    def __init__(self, engine: Engine, bands: Bands) -> None:
        self.engine = engine
        self.bands = bands
        self._shingles = ShingleHashes()

    def sketch(self, rows: Sequence[list[str]]) -> tuple[Signatures, Hashes]:
        """Signatures, N by K, and band keys, N by B."""
        hashes_T, starts_N = self._shingles.hash(rows)
        signatures_NK = self.engine.signatures(hashes_T, starts_N)
        return signatures_NK, band_keys(signatures_NK, self.bands)


def mix(values: Hashes) -> Hashes:
    """Spread every bit over all of them: the finalizer of splitmix64 (Steele, Lea, Flood 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def band_keys(signatures_NK: Signatures, bands: Bands) -> Hashes:
    """One number a row and band, equal where the band's numbers are equal."""
    keys_NB = np.zeros((len(signatures_NK), bands.count), dtype=np.uint64)
    cut_NBR = signatures_NK[:, : bands.count * bands.rows].reshape(-1, bands.count, bands.rows)
    for place in range(bands.rows):
        keys_NB = mix(keys_NB * _MULTIPLIERS[0] + cut_NBR[:, :, place] + np.uint64(1))
    return keys_NB
