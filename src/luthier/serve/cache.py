"""Answers that were given before, given again: to the very same request, or, where the operator asks for it, to one that means the same.

Only requests at temperature 0 are kept, since every other answer is one of many. The key is the whole request as it was understood, less
the fields that cannot change a token, so that a field that is added some day counts; with the model's name, which stands for one model, one
tokenizer and one template as long as the process lives, it decides the prompt's ids. Nothing outlives the process.

What is kept went through the filters. Whoever asks may see by the time it takes that a question was asked before, by any key: leave the
cache off where that tells too much.
"""

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from luthier.config.serve import CacheConfig
from luthier.serve.api import ChatRequest, UserMessage, text_of
from luthier.serve.hooks import Answer, Asked

# Who asks and how the answer is sent; everything else may change a token.
NEUTRAL = frozenset({"user", "metadata", "stream", "stream_options", "store", "service_tier"})
# What an entry takes besides its texts, measured with tracemalloc and rounded up.
ENTRY_BYTES = 1024
# Searching so many vectors of 256 numbers takes a fifth of a millisecond.
MOST_ALIKE = 4096
LONGEST_QUESTION = 4_000

Vector = NDArray[np.float32]


class Embeds(Protocol):
    """Turns texts into vectors of length one."""

    def embed(self, texts: Sequence[str]) -> NDArray[Any]:
        """One row a text."""


@dataclass(frozen=True)
class Question:
    """A request for the cache: its own key, and what must be the same for one that only means the same."""

    key: str
    group: str
    text: str | None
    """The last turn; None where meanings are not compared."""


@dataclass(frozen=True)
class Entry:
    """An answer with what finds it."""

    answer: Answer
    question: Question
    vector: Vector | None

    @property
    def bytes(self) -> int:
        texts = sum(len(text.encode("utf-8", "surrogatepass")) for text in self.answer.texts)
        return ENTRY_BYTES + texts + (self.vector.nbytes if self.vector is not None else 0)


class ResponseCache:
    """Keeps the answers that were used last, within `most_bytes`."""

    def __init__(self, most_bytes: int, *, embedder: Embeds | None = None, similarity: float = 1.0) -> None:
        self._most_bytes = most_bytes
        self._embedder = embedder
        self._similarity = similarity
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._groups: dict[str, OrderedDict[str, Vector]] = {}
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    async def find(self, asked: Asked) -> Answer | None:
        """The answer to this request, or to one that means the same; None if there is none or it may not be given again."""
        question = question_of(asked)
        if question is None:
            return None
        entry = self._entries.get(question.key)
        if entry is None and self._embedder is not None:
            entry = await self._find_alike(question)
        if entry is None:
            return None
        self._entries.move_to_end(entry.question.key)
        return entry.answer

    async def keep(self, asked: Asked, answer: Answer) -> None:
        """Keep an answer that is whole; the one that was not used for longest makes room."""
        question = question_of(asked)
        if question is None or not set(answer.finish_reasons) <= {"stop", "length"}:
            return
        vector = await self._vector(question.text) if self._embedder is not None else None
        entry = Entry(answer, question, vector)
        self._drop(question.key)
        if entry.bytes > self._most_bytes:
            return
        self._entries[question.key] = entry
        self.bytes += entry.bytes
        if vector is not None:
            group = self._groups.setdefault(question.group, OrderedDict())
            group[question.key] = vector
            if len(group) > MOST_ALIKE:
                self._drop(next(iter(group)))
        while self.bytes > self._most_bytes:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        self.bytes -= entry.bytes
        group = self._groups.get(entry.question.group)
        if group is not None and group.pop(key, None) is not None and not group:
            del self._groups[entry.question.group]

    async def _find_alike(self, question: Question) -> Entry | None:
        if not self._groups.get(question.group):
            return None
        vector = await self._vector(question.text)
        group = self._groups.get(question.group)
        if vector is None or not group:
            return None
        keys = list(group)
        cosines = np.stack(list(group.values())) @ vector
        best = int(cosines.argmax())
        return self._entries[keys[best]] if cosines[best] >= self._similarity else None

    async def _vector(self, text: str | None) -> Vector | None:
        """None for a text that holds no word the model knows: it would be like every other such text."""
        if not text or len(text) > LONGEST_QUESTION or self._embedder is None:
            return None
        (vector,) = await asyncio.to_thread(self._embedder.embed, [text])
        return np.asarray(vector, dtype=np.float32) if np.any(vector) else None


def question_of(asked: Asked) -> Question | None:
    """What the cache knows a request by; None if its answer is one of many, or more than text."""
    request = asked.request
    if request.temperature != 0 or request.top_count is not None:
        return None
    if isinstance(request, ChatRequest) and request.tools:
        return None
    facts = request.model_dump(mode="json", by_alias=True, exclude=set(NEUTRAL))
    key = _hash([asked.kind, facts])
    if not isinstance(request, ChatRequest) or not isinstance(request.messages[-1], UserMessage):
        return Question(key, "", None)
    last = request.messages[-1]
    facts["messages"][-1]["content"] = None
    return Question(key, _hash([asked.kind, facts]), text_of(last.content))


def response_cache(config: CacheConfig) -> ResponseCache | None:
    """The cache of the recipe, or None where it is off. Raises ModelError or EnvironmentFault over its embedding model."""
    if not config.most_bytes:
        return None
    embedder: Embeds | None = None
    if config.semantic_model is not None:
        from luthier.text.embed import load_embedder

        embedder = load_embedder(config.semantic_model, where="serve.cache.semantic_model")
    return ResponseCache(config.most_bytes, embedder=embedder, similarity=config.similarity)


def _hash(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()
