"""Encode texts in a process of its own, with one thread: so many of these are faster than so many threads of one process.

Started by encode_pool.py as a script; imports little, so that it starts soon. The threads of `encode_batch` share a cache behind a
lock and an allocator, and what they find is turned into numbers by one Python; processes share nothing.

Binary, little-endian, on stdin and stdout. First a uint64 and so many bytes of tokenizer.json. Then requests, each a HEADER
(flags, texts, bytes), the texts' lengths in bytes (int64) and the texts in UTF-8. Each answer is a uint64 number of tokens, the
tokens of each text (int64), the ids (uint32) and, with OFFSETS, first and last character of each (int32 pairs).
"""

import struct
import sys
from typing import IO

import numpy as np
from tokenizers import Tokenizer

from luthier.text.encode_memory import Encoder

HEADER = struct.Struct("<QQQ")
COUNT = struct.Struct("<Q")
CONTROL_TOKENS = 1
OFFSETS = 2
# Encodings take some 100 bytes a token until they are numbers; small batches stay in the processor's caches.
BATCH_TEXTS = 256
BATCH_CHARACTERS = 2**18


def batches_of(texts: list[str]) -> list[list[str]]:
    """The texts in order, cut into batches of bounded length."""
    batches: list[list[str]] = [[]]
    characters = 0
    for text in texts:
        if len(batches[-1]) >= BATCH_TEXTS or characters >= BATCH_CHARACTERS:
            batches.append([])
            characters = 0
        batches[-1].append(text)
        characters += len(text)
    return batches


def encode(encoder: Encoder, texts: list[str], flags: int) -> list[bytes]:
    """The pieces of an answer."""
    control_tokens, offsets = bool(flags & CONTROL_TOKENS), bool(flags & OFFSETS)
    found = [
        encoder.encode(batch, control_tokens=control_tokens, offsets=offsets) for batch in batches_of(texts)
    ]
    lengths = [length for tokens in found for length in tokens.lengths]
    return [
        COUNT.pack(sum(lengths)),
        np.array(lengths, dtype="<i8").tobytes(),
        *(tokens.ids for tokens in found),
        *(tokens.offsets for tokens in found),
    ]


def read_texts(stream: IO[bytes], count: int, size: int) -> list[str]:
    """The texts of a request."""
    lengths = np.frombuffer(stream.read(8 * count), dtype="<i8")
    ends = np.cumsum(lengths)
    content = stream.read(size)
    bounds = zip((ends - lengths).tolist(), ends.tolist(), strict=True)
    return [content[start:end].decode() for start, end in bounds]


def main() -> None:
    """Answer requests until nobody asks any more."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    (size,) = COUNT.unpack(requests.read(COUNT.size))
    encoder = Encoder(Tokenizer.from_str(requests.read(size).decode()))
    while header := requests.read(HEADER.size):
        flags, count, size = HEADER.unpack(header)
        for piece in encode(encoder, read_texts(requests, count, size), flags):
            answers.write(piece)
        answers.flush()


if __name__ == "__main__":
    main()
