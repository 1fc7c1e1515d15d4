"""Encode texts word by word and remember the tokens of each word: one that comes again costs a look into a dictionary.

In running text nineteen words of twenty came before. word_cuts.py says where a text may be cut without changing a token; a
tokenizer that may merge across every cut gets its texts whole. Used by encode_worker.py: imports numpy and tokenizers only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, filterfalse

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from luthier.text.word_cuts import keeps_offsets, word_cut_of

# Some 60 MB a process. A memory that is full is emptied: the words of the text in hand are soon back, those of other texts gone.
MOST_WORDS = 2**18
LONGEST_WORD = 32  # characters; longer ones hardly come again
# Encoded both ways before the cuts are trusted: a tokenizer that reads its expression otherwise than we do is found out.
PROBED_TEXTS = 64


@dataclass(frozen=True)
class Tokens:
    """Tokens of several texts: how many each has, all ids (uint32) and, where asked for, all offsets (int32 pairs)."""

    lengths: list[int]
    ids: bytes
    offsets: bytes


@dataclass
class _Memory:
    """Of each word the ids and, where asked for, each token's first character and one past its last, counted in the word."""

    wants_offsets: bool
    is_trusted: bool = False
    ids: dict[str, bytes] = field(default_factory=dict)
    offsets: dict[str, bytes] = field(default_factory=dict)

    def forget(self, learned: Sequence[str]) -> None:
        """Drop what is not worth its memory."""
        if len(self.ids) > MOST_WORDS:
            self.ids.clear()
            self.offsets.clear()
            return
        for word in learned:
            if len(word) > LONGEST_WORD:
                del self.ids[word]
                self.offsets.pop(word, None)


class Encoder:
    """Encodes with one tokenizer, each text by itself, nothing put before or after it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        description = tokenizer.to_str()
        self._tokenizer = tokenizer
        self._cut = word_cut_of(description)
        self._keeps_offsets = keeps_offsets(description)
        self._memories: dict[tuple[bool, bool], _Memory] = {}

    def encode(self, texts: list[str], *, control_tokens: bool, offsets: bool) -> Tokens:
        """The tokens of the texts; with `control_tokens`, `<|im_end|>` and the like become control tokens."""
        self._tokenizer.encode_special_tokens = not control_tokens
        if not self._cut or (offsets and not self._keeps_offsets):
            return self._whole(texts, offsets)
        memory = self._memories.setdefault((control_tokens, offsets), _Memory(offsets))
        if not memory.is_trusted:
            probe = texts[:PROBED_TEXTS]
            if self._by_words(probe, memory) != self._whole(probe, offsets):
                self._cut = None
                return self._whole(texts, offsets)
            memory.is_trusted = True
        return self._by_words(texts, memory)

    def _whole(self, texts: list[str], offsets: bool) -> Tokens:
        """By the tokenizer alone."""
        # A tokenizer.json may bring truncation and padding along, and other callers leave theirs behind.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        call = self._tokenizer.encode_batch if offsets else self._tokenizer.encode_batch_fast
        encoded: list[Encoding] = call(texts, add_special_tokens=False)
        flat: list[int] = []
        for encoding in encoded:
            flat += encoding.ids
        spans = [span for encoding in encoded for span in encoding.offsets] if offsets else []
        return Tokens(
            list(map(len, encoded)),
            np.array(flat, dtype="<u4").tobytes(),
            np.array(spans, dtype="<i4").tobytes(),
        )

    def _by_words(self, texts: list[str], memory: _Memory) -> Tokens:
        assert self._cut, "this tokenizer's texts cannot be cut"
        words = [self._cut.findall(text) for text in texts]
        learned = list(dict.fromkeys(filterfalse(memory.ids.__contains__, chain.from_iterable(words))))
        self._learn(learned, memory)
        ids = [b"".join(map(memory.ids.__getitem__, each)) for each in words]
        offsets = _offsets_in_texts(texts, words, memory) if memory.wants_offsets else b""
        memory.forget(learned)
        return Tokens([len(each) // 4 for each in ids], b"".join(ids), offsets)

    def _learn(self, words: list[str], memory: _Memory) -> None:
        found = self._whole(words, memory.wants_offsets)
        at = 0
        for word, length in zip(words, found.lengths, strict=True):
            end = at + length
            memory.ids[word] = found.ids[4 * at : 4 * end]
            if memory.wants_offsets:
                memory.offsets[word] = found.offsets[8 * at : 8 * end]
            at = end


def _offsets_in_texts(texts: list[str], words: list[list[str]], memory: _Memory) -> bytes:
    """The offsets of all tokens, each counted from the first character of its text."""
    flat = list(chain.from_iterable(words))
    spans: npt.NDArray[np.int32] = np.frombuffer(b"".join(map(memory.offsets.__getitem__, flat)), dtype="<i4")
    tokens = np.fromiter((len(memory.ids[word]) // 4 for word in flat), dtype=np.int64, count=len(flat))
    lengths = np.fromiter(map(len, flat), dtype=np.int64, count=len(flat))
    text_lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    words_each = np.fromiter(map(len, words), dtype=np.int64, count=len(words))
    in_all = np.cumsum(lengths) - lengths
    in_text = in_all - np.repeat(np.cumsum(text_lengths) - text_lengths, words_each)
    return (spans.reshape(-1, 2) + np.repeat(in_text, tokens)[:, None]).astype("<i4").tobytes()
