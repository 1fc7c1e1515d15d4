"""The order of rows, worked out from numbers alone, so that nothing has to be remembered to resume.

Row k of an epoch is permutation(seed, epoch)[k]. NumPy promises the raw stream of a bit generator and the seeding of
SeedSequence to stay as they are, and does not promise it for Generator.permutation (NEP 19): hence raw keys and a stable sort.
"""

import hashlib

import numpy as np
import numpy.typing as npt

SEED_BITS = 63


def permutation(rows: int, *, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """The order in which an epoch visits `rows` rows: every number from 0 to rows - 1 once."""
    keys = np.random.PCG64(derive_seed("order", seed, epoch)).random_raw(rows)
    return np.argsort(keys, kind="stable").astype(np.int64)


def derive_seed(*parts: int | str) -> int:
    """A seed from names and numbers, 0 to 2^63 - 1; other parts, or parts cut elsewhere, give another seed."""
    written = "".join(f"{type(part).__name__}:{len(str(part))}:{part};" for part in parts)
    digest = hashlib.sha256(written.encode()).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - SEED_BITS)
