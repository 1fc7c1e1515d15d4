"""Encode texts in a process of its own, with one thread: so many of these are faster than so many threads of one process.

Started by encode_pool.py as a script; imports numpy and tokenizers only. The threads of `encode_batch` share a cache behind a
lock and an allocator, and what they find is turned into numbers by one Python; processes share nothing.

Binary, little-endian, on stdin and stdout. First a uint64 and so many bytes of tokenizer.json. Then requests, each a HEADER
(flags, texts, bytes), the texts' lengths in bytes (int64) and the texts in UTF-8. Each answer is a uint64 number of tokens, the
tokens of each text (int64), the ids (uint32) and, with OFFSETS, first and last character of each (int32 pairs).
"""

import struct
import sys
from typing import IO

import numpy as np
from tokenizers import Encoding, Tokenizer

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


def encode(tokenizer: Tokenizer, texts: list[str], flags: int) -> list[bytes]:
    """The pieces of an answer."""
    tokenizer.encode_special_tokens = not flags & CONTROL_TOKENS
    wants_offsets = bool(flags & OFFSETS)
    call = tokenizer.encode_batch if wants_offsets else tokenizer.encode_batch_fast
    lengths: list[int] = []
    ids: list[bytes] = []
    offsets: list[bytes] = []
    for batch in batches_of(texts):
        encoded: list[Encoding] = call(batch, add_special_tokens=False)
        lengths += map(len, encoded)
        flat: list[int] = []
        for encoding in encoded:
            flat += encoding.ids
        ids.append(np.array(flat, dtype="<u4").tobytes())
        if wants_offsets:
            spans = [span for encoding in encoded for span in encoding.offsets]
            offsets.append(np.array(spans, dtype="<i4").tobytes())
    return [COUNT.pack(sum(lengths)), np.array(lengths, dtype="<i8").tobytes(), *ids, *offsets]


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
    tokenizer = Tokenizer.from_str(requests.read(size).decode())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    while header := requests.read(HEADER.size):
        flags, count, size = HEADER.unpack(header)
        for piece in encode(tokenizer, read_texts(requests, count, size), flags):
            answers.write(piece)
        answers.flush()


if __name__ == "__main__":
    main()
