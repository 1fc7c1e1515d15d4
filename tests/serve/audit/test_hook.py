"""What the audit log says of requests: every one, content only if asked for, and no answer that is not logged."""

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from luthier.serve.audit.hook import AuditHook
from luthier.serve.audit.log import AuditLog, anchor_path
from luthier.serve.audit.verify import verify_audit
from luthier.serve.hooks import KeyHolder
from luthier.serve.refusal import Refusal
from tests.serve.asking import asked, ended


def open_hook(path: Path, **options: Any) -> AuditHook:
    chosen: dict[str, Any] = {"sync_s": 60.0, "with_content": False, "facts": {"models": ["m"]}, **options}
    return AuditHook(AuditLog(path), **chosen)


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_every_request_is_logged_without_its_content(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    hook = open_hook(path)
    request = asked("my secret question", key=KeyHolder("shop"), user="someone")

    async def serve() -> None:
        await hook.before(request)
        await hook.after(request, ended("my secret answer"))
        await hook.refused("req-2", None, "/v1/" + "é" * 500, 401, "api-key")
        await hook.close()

    asyncio.run(serve())
    start, began, end, refused, stop = records(path)
    assert [each["event"] for each in (start, began, end, refused, stop)] == [
        "start",
        "asked",
        "ended",
        "refused",
        "stop",
    ]
    assert (start["models"], began["key"], began["id"], end["id"]) == (["m"], "shop", request.id, request.id)
    assert (end["outcome"], end["prompt_tokens"], end["completion_tokens"], end["first_token_s"]) == (
        "answered",
        10,
        5,
        0.1,
    )
    assert (refused["key"], refused["status"], refused["code"], len(refused["path"])) == (
        None,
        401,
        "api-key",
        200,
    )
    assert "secret" not in path.read_text()
    report = verify_audit(path)
    assert (report.broken_line, report.anchors) == (None, [str(hook.anchor)])


def test_content_is_logged_where_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    hook = open_hook(path, with_content=True)
    request = asked("Wie spät?", temperature=0)
    asyncio.run(hook.before(request))
    asyncio.run(hook.after(request, ended("Früh \ud800")))
    _, began, end = records(path)
    assert began["request"]["messages"] == [{"role": "user", "content": "Wie spät?"}]
    assert end["texts"] == ["Früh \ud800"]
    asyncio.run(hook.close())


def test_nothing_is_answered_that_cannot_be_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "audit.jsonl"
    hook = open_hook(path)
    under_way = asked()
    asyncio.run(hook.before(under_way))

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(Refusal) as raised:
        asyncio.run(hook.before(asked()))
    assert (raised.value.status, raised.value.code) == (503, "api-audit")
    asyncio.run(hook.after(under_way, ended()))
    monkeypatch.undo()
    asyncio.run(hook.before(asked()))
    assert [each["event"] for each in records(path)] == ["start", "asked", "ended", "asked"]
    assert records(path)[2]["id"] == under_way.id
    asyncio.run(hook.close())


def test_the_anchor_follows_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    hook = open_hook(path, sync_s=0.01)
    asyncio.run(hook.before(asked()))
    until = time.monotonic() + 5
    while json.loads(anchor_path(path).read_text())["records"] < 2 and time.monotonic() < until:
        time.sleep(0.01)
    assert json.loads(anchor_path(path).read_text()) == {"records": 2, "hash": hook.anchor.hash}
    asyncio.run(hook.close())


def test_with_no_interval_each_record_is_on_the_disk_before_anything_else_happens(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    hook = open_hook(path, sync_s=0.0)
    for _ in range(3):
        asyncio.run(hook.before(asked()))
        assert json.loads(anchor_path(path).read_text())["records"] == hook.anchor.records
    asyncio.run(hook.close())
