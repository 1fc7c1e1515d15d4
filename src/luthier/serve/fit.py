"""Fit a server out as its recipe says: keys, audit, figures, limits, filter, cache. What the recipe does not ask for is not there.

The audit comes first: what another hook refuses was asked, and is logged with its refusal.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from luthier.config.serve import AuditConfig, LimitsConfig, ServeConfig
from luthier.floor.errors import UsageError
from luthier.serve.audit.hook import AuditHook
from luthier.serve.audit.log import AuditLog
from luthier.serve.cache import response_cache
from luthier.serve.filter.hook import filter_hook
from luthier.serve.hooks import Doorkeeper, EveryoneIn, Fittings, Hook
from luthier.serve.keys import LIMIT_NAMES, KeyRing
from luthier.serve.limits import KeyLimits
from luthier.serve.metrics import Metrics


@dataclass(frozen=True)
class Fitted:
    """The fittings, and the audit log among them if there is one."""

    fittings: Fittings
    audit: AuditHook | None


@contextmanager
def fitted(config: ServeConfig, *, target: str) -> Iterator[Fitted]:
    """The fittings of a server of `target`; afterwards its audit log is closed, whatever became of the server.

    Raises UsageError (no live key, a pattern that is none), DataError (a word list), EnvironmentFault (a log or a keys file that cannot be
    used, an extra that is not installed).
    """
    doorkeeper = _doorkeeper(config.keys)
    metrics = Metrics(config.metrics) if config.metrics.enabled else None
    content_filter = filter_hook(config.filter)
    cache = response_cache(config.cache)
    limits = _limits(config.limits, has_keys=config.keys is not None)
    log = AuditLog(Path(config.audit.path)) if config.audit.path is not None else None
    try:
        audit = _audit(log, config.audit, target)
        hooks: tuple[Hook | None, ...] = (audit, metrics, limits, content_filter)
        fittings = Fittings(
            doorkeeper=doorkeeper,
            has_keys=config.keys is not None,
            hooks=tuple(hook for hook in hooks if hook is not None),
            cache=cache,
            metrics=metrics,
        )
        yield Fitted(fittings, audit)
    finally:
        if log is not None:
            log.close()


def _doorkeeper(keys: str | None) -> Doorkeeper:
    if keys is None:
        return EveryoneIn()
    ring = KeyRing(Path(keys))
    if not len(ring):
        raise UsageError(
            "usage",
            f"{keys} holds no live key, so that nobody could ask anything",
            where="serve.keys",
            fix=f"Make one: luthier keys new NAME --file {keys}",
        )
    return ring


def _limits(config: LimitsConfig, *, has_keys: bool) -> KeyLimits | None:
    defaults = {
        "requests_per_minute": config.requests_per_minute,
        "tokens_per_minute": config.tokens_per_minute,
        "concurrency": config.concurrency,
    }
    assert set(defaults) == set(LIMIT_NAMES)
    # A key may have limits of its own, also one that is made while the server runs.
    return KeyLimits(defaults) if has_keys or any(defaults.values()) else None


def _audit(log: AuditLog | None, config: AuditConfig, target: str) -> AuditHook | None:
    if log is None:
        return None
    facts = {"version": version("luthier"), "target": target}
    return AuditHook(log, sync_s=config.sync_s, with_content=config.content, facts=facts)
