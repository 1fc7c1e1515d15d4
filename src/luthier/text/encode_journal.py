"""Keep what has been encoded until the work it belongs to is done, so that an interrupted preparation goes on.

One file a block, named by a hash of the block's texts: whoever comes back with the same texts finds their tokens, however far
the earlier process had come, and texts that changed find nothing. A file holds the BLAKE2b of its content before the content,
since after a power cut a file may be there and hold nothing. The tokenizer must be the same: the folder stands for it.
"""

import contextlib
import hashlib
import os
import shutil
import threading
from pathlib import Path

DIGEST_BYTES = 32


class EncodeJournal:
    """Blocks of tokens in a folder. A disk that takes no more ends the keeping, not the work."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._is_open = True
        self._counting = threading.Lock()
        self.found = 0
        """Blocks that were there."""

    def find(self, request: list[bytes]) -> bytes | None:
        """The answer to a request, if an earlier process kept it whole."""
        try:
            content = self._path(request).read_bytes()
        except OSError:
            return None
        digest, answer = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
        if digest != _digest([answer]):
            return None
        with self._counting:
            self.found += 1
        return answer

    def keep(self, request: list[bytes], answer: bytes) -> None:
        """Write an answer under its request's name."""
        if not self._is_open:
            return
        path = self._path(request)
        temporary = path.with_name(f".{path.name}-{os.getpid()}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as file:
                file.write(_digest([answer]))
                file.write(answer)
            os.rename(temporary, path)
        except OSError:
            self._is_open = False
            with contextlib.suppress(OSError):
                temporary.unlink()

    def discard(self) -> None:
        """Remove the folder: its work is done."""
        self._is_open = False
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, request: list[bytes]) -> Path:
        return self._folder / _digest(request).hex()


def _digest(pieces: list[bytes]) -> bytes:
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for piece in pieces:
        digest.update(piece)
    return digest.digest()
