"""Every request in the audit log: who asked, when, and what became of it; what was said only where the operator asks for that.

A request that is understood is logged twice, before the model is asked and when it has ended, so that a server that is killed leaves
the ones it was at. Where the log cannot be written, nothing is answered (503): what could not be logged waits in memory.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from luthier.floor.errors import EnvironmentFault
from luthier.serve.audit.log import AuditLog
from luthier.serve.audit.record import Anchor
from luthier.serve.hooks import Asked, Bystander, Ended, KeyHolder
from luthier.serve.refusal import Refusal

LONGEST_PATH = 200
# Ends of requests that wait for a disk that is full; while it is, no request is let in, so that more are strangers' noise.
MOST_WAITING = 10_000


class AuditHook(Bystander):
    """Writes the log, and syncs it every `sync_s` seconds; with 0, at each record before anything else is done."""

    def __init__(self, log: AuditLog, *, sync_s: float, with_content: bool, facts: Mapping[str, Any]) -> None:
        self._log = log
        self._with_content = with_content
        self._syncs_each = sync_s == 0
        self._waiting: deque[tuple[str, Mapping[str, Any]]] = deque()
        self._lost = 0
        log.append("start", {**facts, "with_content": with_content})
        log.sync()
        self._stop = threading.Event()
        self._syncer = threading.Thread(
            target=self._sync_often, args=(sync_s,), name="audit-sync", daemon=True
        )
        if not self._syncs_each:
            self._syncer.start()

    @property
    def anchor(self) -> Anchor:
        """How far the log has come; to be kept elsewhere, it tells an end that was cut off."""
        return self._log.anchor

    async def before(self, asked: Asked) -> Mapping[str, str]:
        """Log that it was asked. Raises Refusal (503) if the log cannot be written."""
        facts: dict[str, Any] = {
            "id": asked.id,
            "key": asked.key.name,
            "kind": asked.kind,
            "model": asked.model,
            "prompt_tokens": asked.prompt_tokens,
            "most_new_tokens": asked.most_new_tokens,
        }
        if self._with_content:
            facts["request"] = asked.request.model_dump(mode="json", exclude_unset=True, by_alias=True)
        try:
            await self._add("asked", facts)
        except EnvironmentFault as fault:
            raise Refusal(
                503, "api-audit", "the audit log cannot be written", headers={"Retry-After": "10"}
            ) from fault
        return {}

    async def after(self, asked: Asked, ended: Ended) -> None:
        """Log what became of it."""
        facts: dict[str, Any] = {
            "id": asked.id,
            "outcome": ended.outcome,
            "status": ended.status,
            "code": ended.code,
            "finish_reasons": list(ended.finish_reasons),
            "prompt_tokens": ended.prompt_tokens,
            "completion_tokens": ended.completion_tokens,
            "queued_s": _rounded(ended.queued_s),
            "first_token_s": _rounded(ended.first_token_s),
            "total_s": _rounded(ended.total_s),
        }
        if self._with_content:
            facts["texts"] = list(ended.texts)
        await self._add_or_keep("ended", facts)

    async def refused(self, id: str, key: KeyHolder | None, path: str, status: int, code: str) -> None:
        """Log a request that was not understood."""
        name = key.name if key else None
        facts = {"id": id, "key": name, "path": path[:LONGEST_PATH], "status": status, "code": code}
        await self._add_or_keep("refused", facts)

    async def close(self) -> None:
        """Log that the server ends, and sync."""
        self._stop.set()
        if self._syncer.is_alive():
            await asyncio.to_thread(self._syncer.join)
        await self._add_or_keep("stop", {})
        await asyncio.to_thread(self._log.close)

    async def _add(self, event: str, facts: Mapping[str, Any]) -> None:
        while self._waiting:
            self._log.append(*self._waiting[0])
            self._waiting.popleft()
        if self._lost:
            self._log.append("lost", {"records": self._lost})
            self._lost = 0
        self._log.append(event, facts)
        if self._syncs_each:
            await asyncio.to_thread(self._log.sync)

    async def _add_or_keep(self, event: str, facts: Mapping[str, Any]) -> None:
        try:
            await self._add(event, facts)
        except EnvironmentFault:
            if len(self._waiting) < MOST_WAITING:
                self._waiting.append((event, facts))
            else:
                self._lost += 1

    def _sync_often(self, sync_s: float) -> None:
        while not self._stop.wait(sync_s):
            # A disk that refuses is told of by the next record.
            with suppress(EnvironmentFault):
                self._log.sync()


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
