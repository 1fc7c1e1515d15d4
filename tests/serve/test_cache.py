"""The response cache: the same answer to the same question alone, within its bytes, and to no question that says another thing."""

import asyncio
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from pydantic import ValidationError

from luthier.config.serve import CacheConfig
from luthier.serve.api import ChatRequest
from luthier.serve.cache import NEUTRAL, ResponseCache, response_cache
from luthier.serve.hooks import Answer, Asked
from tests.serve.asking import asked

# A second value of every field of a request; a field that is added fails here until it is known whether it changes a token.
OTHER: dict[str, Any] = {
    "model": "other",
    "messages": [{"role": "user", "content": "Hello?"}],
    "top_p": 0.5,
    "n": 2,
    "seed": 7,
    "stop": ["x"],
    "max_tokens": 3,
    "max_completion_tokens": 3,
    "frequency_penalty": 1.0,
    "presence_penalty": 1.0,
    "logit_bias": {"5": 1.0},
    "response_format": {"type": "json_object"},
    "tool_choice": "none",
    "parallel_tool_calls": True,
}
SAME: dict[str, Any] = {
    "user": "someone",
    "metadata": {"a": "b"},
    "stream": True,
    "stream_options": {"include_usage": True},
    "store": False,
    "service_tier": "auto",
}
NEVER: dict[str, Any] = {
    "temperature": 0.5,
    "logprobs": True,
    "top_logprobs": 2,
    "tools": [{"type": "function", "function": {"name": "f"}}],
}
ALONGSIDE = {"stream_options": {"stream": True}, "top_logprobs": {"logprobs": True}}


def greedy(text: str = "Hello", **fields: Any) -> Asked:
    base = {"model": "m", "messages": [{"role": "user", "content": text}], "temperature": 0}
    return asked(text, request=ChatRequest.model_validate(base | fields))


def answer(text: str = "Hi", finish: str = "stop") -> Answer:
    return Answer((text,), (finish,), 10, 5)


def keep(cache: ResponseCache, request: Asked, kept: Answer) -> None:
    asyncio.run(cache.keep(request, kept))


def find(cache: ResponseCache, request: Asked) -> Answer | None:
    return asyncio.run(cache.find(request))


def test_every_field_of_a_request_is_known_to_change_the_answer_or_not() -> None:
    assert {*OTHER, *SAME, *NEVER} == set(ChatRequest.model_fields)
    assert set(SAME) == NEUTRAL


@pytest.mark.parametrize("field", OTHER)
def test_another_value_of_any_field_that_may_change_a_token_is_another_question(field: str) -> None:
    cache = ResponseCache(10**6)
    keep(cache, greedy(), answer())
    assert find(cache, greedy()) == answer()
    assert find(cache, greedy(**{field: OTHER[field]})) is None


@pytest.mark.parametrize("field", SAME)
def test_who_asks_and_how_it_is_sent_makes_no_other_question(field: str) -> None:
    cache = ResponseCache(10**6)
    keep(cache, greedy(), answer())
    assert find(cache, greedy(**ALONGSIDE.get(field, {}), **{field: SAME[field]})) == answer()


@pytest.mark.parametrize("field", NEVER)
def test_what_may_come_out_differently_is_neither_kept_nor_found(field: str) -> None:
    cache = ResponseCache(10**6)
    request = greedy(**{**ALONGSIDE.get(field, {}), field: NEVER[field]})
    keep(cache, request, answer())
    assert (len(cache), find(cache, request)) == (0, None)


def test_what_a_filter_ended_is_not_kept() -> None:
    cache = ResponseCache(10**6)
    keep(cache, greedy(), answer(finish="content_filter"))
    assert len(cache) == 0


def test_it_stays_within_its_bytes_and_drops_what_was_not_used_for_longest() -> None:
    cache = ResponseCache(40_000)
    for number in range(100):
        keep(cache, greedy(str(number)), answer("x" * 3000))
        assert cache.bytes <= 40_000
        assert find(cache, greedy("0")) is not None, "it is asked for all the time"
    assert len(cache) == 40_000 // (3000 + 1024)
    assert find(cache, greedy("99")) is not None
    assert find(cache, greedy("50")) is None
    keep(cache, greedy("huge"), answer("x" * 50_000))
    assert find(cache, greedy("huge")) is None
    assert find(cache, greedy("0")) is not None
    keep(cache, greedy("0"), answer("y"))
    assert find(cache, greedy("0")) == answer("y")


def test_its_books_are_not_below_what_it_takes() -> None:
    cache = ResponseCache(10**8)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(200):
        keep(cache, greedy(str(number)), Answer((f"{number}" + "x" * 500,), ("stop",), 1, 1))
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert taken <= cache.bytes * 1.05


class Directions:
    """Vectors by the first word: tests choose what means the same. A text of unknown words is nothing at all."""

    WORDS: ClassVar = {"cat": 0.0, "kitten": 0.2, "dog": 1.5}

    def embed(self, texts: Sequence[str]) -> Any:
        angles = [self.WORDS.get(text.split()[0]) for text in texts]
        return np.array(
            [[0, 0] if angle is None else [np.cos(angle), np.sin(angle)] for angle in angles],
            dtype=np.float32,
        )


def test_a_question_that_means_the_same_gets_the_answer_if_all_else_is_the_same() -> None:
    cache = ResponseCache(10**6, embedder=Directions(), similarity=0.95)
    keep(cache, greedy("cat"), answer("Miaow"))
    assert find(cache, greedy("kitten")) == answer("Miaow")
    assert find(cache, greedy("dog")) is None
    assert find(cache, greedy("kitten", max_tokens=3)) is None
    system = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "kitten"}]
    assert find(cache, greedy(messages=system)) is None
    keep(cache, greedy("unknown words"), answer("?"))
    assert find(cache, greedy("other unknown words")) is None
    assert find(cache, greedy("unknown words")) == answer("?"), "the very same is found"


def test_vectors_go_with_their_answers() -> None:
    cache = ResponseCache(2 * (1024 + 2 + 8), embedder=Directions(), similarity=0.95)
    for word in ("cat", "dog", "dog 2"):
        keep(cache, greedy(word), answer("ok"))
    assert len(cache) == 2
    assert find(cache, greedy("kitten")) is None
    assert find(cache, greedy("dog 3")) == answer("ok")


def test_it_is_off_unless_asked_for_and_meaning_needs_room(tmp_path: Path) -> None:
    assert response_cache(CacheConfig()) is None
    with pytest.raises(ValidationError, match="semantic_model needs most_bytes"):
        CacheConfig(semantic_model="models/potion")
    made = response_cache(CacheConfig(most_bytes=1000))
    assert made is not None
