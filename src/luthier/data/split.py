"""Set rows apart for validation by what they ask, not by where they stand.

The side of a row depends on the seed and its own content alone: adding, removing or moving other rows changes nothing, and rows
that ask the same are never on both sides.
"""

import hashlib

from luthier.text.rows import Row

BITS = 64


class Splitter:
    """Decides the side of a row; `fraction` of many different rows go to validation."""

    def __init__(self, *, seed: int, fraction: float) -> None:
        self._salt = hashlib.sha256(f"split:{seed}".encode()).digest()
        self._bound: int = round(fraction * 2**BITS)

    def is_validation(self, row: Row) -> bool:
        """Whether the row is set apart."""
        if not self._bound:
            return False
        digest = hashlib.blake2b(asked(row).encode(), digest_size=BITS // 8, key=self._salt).digest()
        return int.from_bytes(digest, "big") < self._bound


def asked(row: Row) -> str:
    """What the row asks: its prompt, the turns before its first answer, or the whole text."""
    if row.kind == "prompt_completion":
        return row.prompt
    if row.kind == "text":
        return row.text
    before: list[str] = []
    for message in row.messages:
        if message.role == "assistant":
            break
        before.append(f"{message.role}\n{message.content}")
    return "\0".join(before)
