"""What each token stands for, byte by byte, so that ids can be shown as they are, without a text to render again.

A decoder that joins tokens also tidies: it strips the first blank, and puts signs in place of half a character. Here nothing is
tidied: the bytes of a row's tokens, end to end, are what the ids say.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from transformers import PreTrainedTokenizerBase

BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
WORD_MARK = "\u2581"  # sentencepiece writes a blank as this


class TokenBytes:
    """The bytes of a tokenizer's tokens."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._backend = tokenizer.backend_tokenizer
        self._added = {id: token.content.encode() for id, token in tokenizer.added_tokens_decoder.items()}
        decoder = json.loads(self._backend.to_str())["decoder"]
        self._kinds = set(_kinds(decoder))
        self._known: dict[int, bytes] = {}

    def of(self, id: int) -> bytes:
        """What the token adds to a text; one that the tokenizer does not know is spelt by its number."""
        if id not in self._known:
            self._known[id] = self._added[id] if id in self._added else self._spell(id)
        return self._known[id]

    def _spell(self, id: int) -> bytes:
        token: str | None = self._backend.id_to_token(id)
        if token is None:
            return f"<no token {id}>".encode()
        if "ByteLevel" in self._kinds and all(sign in BYTE_OF for sign in token):
            return bytes(BYTE_OF[sign] for sign in token)
        byte = BYTE_TOKEN.fullmatch(token)
        if "ByteFallback" in self._kinds and byte:
            return bytes.fromhex(byte[1])
        if self._kinds & {"Metaspace", "Replace"}:
            token = token.replace(WORD_MARK, " ")
        return token.encode()


def _kinds(decoder: Any) -> Iterator[str]:
    """The kinds of the decoders in a tokenizer's description."""
    if decoder:
        yield decoder["type"]
        for inner in decoder.get("decoders", ()):
            yield from _kinds(inner)


def _byte_of_signs() -> dict[str, int]:
    """Byte-level vocabularies write each byte as one printable character (GPT-2's table)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    return table | {chr(256 + place): byte for place, byte in enumerate(others)}


BYTE_OF = _byte_of_signs()
