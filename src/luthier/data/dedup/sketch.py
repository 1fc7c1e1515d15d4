"""Turn rows into MinHash signatures and band keys (Broder 1997; Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", 3.4).

A signature depends on the row alone, never on the batch, the machine or the order: shingles are hashed here, the same for
every engine, and an engine only takes minima. rensa does it in Rust, datasketch in numpy and some fifty times slower.
"""

import importlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from luthier.data.alike.shingles import MULTIPLIERS, Hashes, ShingleHashes, mix
from luthier.floor.errors import EnvironmentFault

# N: rows, K: hash functions, B: bands, T: tokens or shingles of a batch in one line
HASHES = 128
SEED = 20_240_817
RECALL_AT_THRESHOLD = (
    0.995  # of a pair that lies exactly at the threshold; closer pairs are found more surely
)
LOWEST_THRESHOLD = 0.3
# A pair whose signatures agree in fewer places than this many standard deviations below the threshold is passed over.
DEVIATIONS = 5.0

Signatures = NDArray[np.uint32]


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


def band_keys(signatures_NK: Signatures, bands: Bands) -> Hashes:
    """One number a row and band, equal where the band's numbers are equal."""
    keys_NB = np.zeros((len(signatures_NK), bands.count), dtype=np.uint64)
    cut_NBR = signatures_NK[:, : bands.count * bands.rows].reshape(-1, bands.count, bands.rows)
    for place in range(bands.rows):
        keys_NB = mix(keys_NB * MULTIPLIERS[0] + cut_NBR[:, :, place] + np.uint64(1))
    return keys_NB
