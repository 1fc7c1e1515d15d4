"""What one key may take: requests and tokens a minute, and requests at once; over it, 429 with the time to wait.

Requests are counted in a moving window, so that no minute has more of them. Tokens are taken from a fixed window before the answer
is made, as many as it may get at most (as OpenAI's server counts), and what it did not need is given back: no window has more of
them, whatever clients ask for at once. The counting is that of the `limits` library, in this process: replicas count apart.
"""

import importlib
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from luthier.floor.errors import EnvironmentFault
from luthier.serve.hooks import Asked, Bystander, Ended
from luthier.serve.refusal import Refusal


@dataclass(frozen=True)
class Taken:
    """What a request under way holds of its key's limits."""

    key: str
    tokens: int
    """Reserved; 0 where the key has no limit of tokens."""
    window_end_s: float
    """Unix time at which the window that they were taken from ends."""


class KeyLimits(Bystander):
    """Refuses what goes over a key's limits; keys without limits of their own have the recipe's. 0 means no limit."""

    def __init__(self, defaults: Mapping[str, int]) -> None:
        limits = _load_limits()
        self._defaults = dict(defaults)
        self._per_minute = limits.RateLimitItemPerMinute
        self._storage: Any = limits.storage.MemoryStorage()
        self._moving = limits.strategies.MovingWindowRateLimiter(self._storage)
        self._fixed = limits.strategies.FixedWindowRateLimiter(self._storage)
        self._under_way: dict[str, Taken] = {}
        self._at_once: dict[str, int] = {}

    async def before(self, asked: Asked) -> Mapping[str, str]:
        """Take a request and its tokens from the key's minute; gives the `x-ratelimit-*` headers. Raises Refusal (429)."""
        key, limits = asked.key.name, {**self._defaults, **asked.key.limits}
        tokens = asked.prompt_tokens + asked.most_new_tokens
        self._check_concurrency(key, limits.get("concurrency", 0))
        requests = self._item(limits.get("requests_per_minute", 0))
        token_item = self._item(limits.get("tokens_per_minute", 0))
        if requests and not self._moving.test(requests, "requests", key):
            raise self._over(
                "requests", requests, self._moving, key, f"{requests.amount:,} requests a minute"
            )
        if token_item and not self._fixed.test(token_item, "tokens", key, cost=tokens):
            raise self._over_tokens(token_item, key, tokens)
        headers: dict[str, str] = {}
        if requests:
            self._moving.hit(requests, "requests", key)
            headers |= self._headers("requests", requests, self._moving, key)
        window_end_s = 0.0
        if token_item:
            self._fixed.hit(token_item, "tokens", key, cost=tokens)
            window_end_s = self._fixed.get_window_stats(token_item, "tokens", key).reset_time
            headers |= self._headers("tokens", token_item, self._fixed, key)
        self._under_way[asked.id] = Taken(key, tokens if token_item else 0, window_end_s)
        self._at_once[key] = self._at_once.get(key, 0) + 1
        return headers

    async def after(self, asked: Asked, ended: Ended) -> None:
        """Free the request's place, and give back the tokens that it did not need."""
        taken = self._under_way.pop(asked.id, None)
        if taken is None:  # it was refused here
            return
        self._at_once[taken.key] -= 1
        if not self._at_once[taken.key]:
            del self._at_once[taken.key]
        # Of a cached or refused request the model read nothing.
        used = ended.prompt_tokens + ended.completion_tokens if ended.first_token_s is not None else 0
        unused = taken.tokens - used
        if unused > 0:
            limits = {**self._defaults, **asked.key.limits}
            item = self._item(limits["tokens_per_minute"])
            place = item.key_for("tokens", taken.key)
            # A window that has ended since took them along.
            if self._storage.get_expiry(place) == taken.window_end_s:
                self._storage.decr(place, unused)

    def _check_concurrency(self, key: str, most: int) -> None:
        if most and self._at_once.get(key, 0) >= most:
            what = f"{most} of its requests are under way, and the key may have no more at once"
            raise Refusal(429, "api-limit", what, headers={"Retry-After": "1"})

    def _item(self, amount: int) -> Any:
        return self._per_minute(amount) if amount else None

    def _over_tokens(self, item: Any, key: str, tokens: int) -> Refusal:
        if tokens > item.amount:
            what = (
                f"prompt and answer may take {tokens:,} tokens, and the key has {item.amount:,} a minute:"
                " give a lower max_tokens"
            )
            return Refusal(
                429,
                "api-limit",
                what,
                param="max_tokens",
                headers=self._headers("tokens", item, self._fixed, key),
            )
        left = self._fixed.get_window_stats(item, "tokens", key).remaining
        what = (
            f"{item.amount:,} tokens a minute: {left:,} are left, and prompt and answer may take {tokens:,}"
        )
        return self._over("tokens", item, self._fixed, key, what)

    def _over(self, kind: str, item: Any, limiter: Any, key: str, what: str) -> Refusal:
        headers = self._headers(kind, item, limiter, key)
        headers["Retry-After"] = headers[f"x-ratelimit-reset-{kind}"].removesuffix("s")
        return Refusal(429, "api-limit", f"the key has used up its limit of {what}", headers=headers)

    def _headers(self, kind: str, item: Any, limiter: Any, key: str) -> dict[str, str]:
        stats = limiter.get_window_stats(item, kind, key)
        # A window that is untouched ends now.
        wait_s = max(1, math.ceil(stats.reset_time - time.time())) if stats.remaining < item.amount else 0
        return {
            f"x-ratelimit-limit-{kind}": str(item.amount),
            f"x-ratelimit-remaining-{kind}": str(stats.remaining),
            f"x-ratelimit-reset-{kind}": f"{wait_s}s",
        }


def _load_limits() -> ModuleType:
    try:
        limits = importlib.import_module("limits")
        importlib.import_module("limits.storage")
        importlib.import_module("limits.strategies")
    except ModuleNotFoundError as fault:
        raise EnvironmentFault(
            "env-extra",
            "limits of keys need the library limits, which is not installed",
            where="serve.limits",
            fix="Type: pip install 'luthier[serve]'",
        ) from fault
    return limits
