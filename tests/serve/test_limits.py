"""Limits of a key: none is passed whatever is asked at once, and everybody is told how long to wait."""

import asyncio
import random
import time
from collections.abc import Mapping

import pytest

from luthier.serve.hooks import Asked, KeyHolder
from luthier.serve.limits import KeyLimits
from luthier.serve.refusal import Refusal
from tests.serve.asking import asked, ended


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock that the library reads; a test moves it."""
    now = [time.time()]
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now


def holder(name: str = "shop", **limits: int) -> KeyHolder:
    return KeyHolder(name, limits=limits)


def take(limits: KeyLimits, request: Asked) -> Mapping[str, str]:
    return asyncio.run(limits.before(request))


def refusal_of(limits: KeyLimits, request: Asked) -> Refusal:
    with pytest.raises(Refusal) as raised:
        take(limits, request)
    assert (raised.value.status, raised.value.code) == (429, "api-limit")
    return raised.value


def test_a_key_without_limits_is_never_refused_and_gets_no_headers(clock: list[float]) -> None:
    limits = KeyLimits({})
    assert [take(limits, asked()) for _ in range(100)] == [{}] * 100


def test_requests_run_out_and_come_back_one_by_one(clock: list[float]) -> None:
    limits = KeyLimits({"requests_per_minute": 3})
    left = []
    for _ in range(3):
        left.append(take(limits, asked())["x-ratelimit-remaining-requests"])
        clock[0] += 10
    assert left == ["2", "1", "0"]
    over = refusal_of(limits, asked())
    assert over.headers["x-ratelimit-limit-requests"] == "3"
    assert over.headers["Retry-After"] == "30"
    assert over.headers["x-ratelimit-reset-requests"] == "30s"
    clock[0] += 31
    take(limits, asked())
    refusal_of(limits, asked())


def test_one_key_does_not_use_up_another_ones_limits(clock: list[float]) -> None:
    limits = KeyLimits({"requests_per_minute": 1})
    take(limits, asked(key=holder("one")))
    take(limits, asked(key=holder("two")))
    refusal_of(limits, asked(key=holder("one")))


def test_a_keys_own_limits_go_before_the_recipes(clock: list[float]) -> None:
    limits = KeyLimits({"requests_per_minute": 1})
    key = holder("shop", requests_per_minute=2)
    assert take(limits, asked(key=key))["x-ratelimit-limit-requests"] == "2"


def test_tokens_are_reserved_and_the_unused_ones_given_back(clock: list[float]) -> None:
    limits = KeyLimits({"tokens_per_minute": 100})
    request = asked(prompt_tokens=10, most_new_tokens=60)
    assert take(limits, request)["x-ratelimit-remaining-tokens"] == "30"
    over = refusal_of(limits, asked(prompt_tokens=10, most_new_tokens=60))
    assert "30 are left, and prompt and answer may take 70" in over.message
    assert 1 <= int(over.headers["Retry-After"]) <= 60
    asyncio.run(limits.after(request, ended(prompt_tokens=10, completion_tokens=5)))
    assert take(limits, asked(prompt_tokens=10, most_new_tokens=60))["x-ratelimit-remaining-tokens"] == "15"


def test_a_request_that_can_never_fit_is_told_so(clock: list[float]) -> None:
    over = refusal_of(KeyLimits({"tokens_per_minute": 100}), asked(prompt_tokens=10, most_new_tokens=100))
    assert "Retry-After" not in over.headers
    assert over.param == "max_tokens"


def test_what_never_reached_the_model_costs_no_tokens(clock: list[float]) -> None:
    limits = KeyLimits({"tokens_per_minute": 100})
    for outcome in ("refused", "cached", "cancelled"):
        request = asked(prompt_tokens=50, most_new_tokens=50)
        take(limits, request)
        asyncio.run(
            limits.after(
                request, ended(outcome=outcome, prompt_tokens=50, completion_tokens=0, first_token_s=None)
            )
        )


def test_tokens_of_a_window_that_has_ended_are_not_given_to_the_next(clock: list[float]) -> None:
    limits = KeyLimits({"tokens_per_minute": 100})
    old = asked(prompt_tokens=50, most_new_tokens=50)
    take(limits, old)
    clock[0] += 61
    take(limits, asked(prompt_tokens=50, most_new_tokens=50))
    asyncio.run(limits.after(old, ended(prompt_tokens=50, completion_tokens=0)))
    refusal_of(limits, asked(prompt_tokens=1, most_new_tokens=1))


def test_requests_at_once_are_bounded_and_freed_however_they_end(clock: list[float]) -> None:
    limits = KeyLimits({"concurrency": 2})
    first, second = asked(), asked()
    take(limits, first)
    take(limits, second)
    third = asked()
    assert refusal_of(limits, third).headers["Retry-After"] == "1"
    asyncio.run(
        limits.after(third, ended(outcome="refused"))
    )  # the server may tell of one that was refused here
    refusal_of(limits, asked())
    asyncio.run(limits.after(first, ended(outcome="cancelled", status=499)))
    take(limits, asked())
    refusal_of(limits, asked())


def test_no_minute_has_more_than_its_limits_whatever_is_asked(clock: list[float]) -> None:
    """A storm of requests in a random order of starts, ends and waits, against a count of our own."""
    chance = random.Random(1)
    limits = KeyLimits({"requests_per_minute": 20, "tokens_per_minute": 500, "concurrency": 4})
    let_in: list[float] = []
    under_way: list[Asked] = []
    for _ in range(3000):
        clock[0] += chance.choice((0.0, 0.1, 2.0, 9.0))
        if under_way and chance.random() < 0.5:
            request = under_way.pop(chance.randrange(len(under_way)))
            asyncio.run(
                limits.after(request, ended(prompt_tokens=10, completion_tokens=chance.randrange(40)))
            )
            continue
        request = asked(most_new_tokens=chance.randrange(1, 40))
        try:
            take(limits, request)
        except Refusal as refusal:
            assert refusal.status == 429
            continue
        under_way.append(request)
        let_in.append(clock[0])
        assert len(under_way) <= 4
        assert sum(at > clock[0] - 60 for at in let_in) <= 20
    assert len(let_in) > 100
