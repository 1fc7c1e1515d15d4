"""Plant rows in files and check them: what the tests of the check share."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luthier.data.check.measure import Measure
from luthier.data.check.stage import CheckTask, check
from luthier.reports.check import Finding

GOOD = {"prompt": "What is the capital of France?", "completion": "Paris, on the Seine."}
USER = {"role": "user", "content": "What is six times seven?"}
ANSWER = {"role": "assistant", "content": "It is forty-two."}
TOOL = {"type": "function", "function": {"name": "multiply", "parameters": {"type": "object"}}}


def pair(prompt: Any = "Name a river of Spain.", completion: Any = "The Ebro.") -> dict[str, Any]:
    """A prompt/completion row."""
    return {"prompt": prompt, "completion": completion}


def chat(*messages: Any, **fields: Any) -> dict[str, Any]:
    """A row of messages."""
    return {"messages": list(messages), **fields}


def call(
    arguments: Any = '{"a": 6, "b": 7}', *, name: str = "multiply", id: str = "call_1"
) -> dict[str, Any]:
    """An assistant's message that calls a tool."""
    function = {"name": name, "arguments": arguments}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": id, "type": "function", "function": function}],
    }


def tool(id: Any = "call_1") -> dict[str, Any]:
    """The answer of a tool."""
    return {"role": "tool", "tool_call_id": id, "content": "42"}


def write(path: Path, rows: Sequence[Any]) -> Path:
    """A file of rows; bytes are written as they are, each as a line."""
    lines = [row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=False).encode() for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def find(*paths: Path, against: Sequence[Path] = (), measure: Measure | None = None) -> list[Finding]:
    """Every finding, by place."""
    with check(CheckTask(paths, tuple(against), measure)) as found:
        findings = list(found.store.by_place())
        assert len(findings) == sum(found.store.counts.values())
        return findings


def places(findings: Sequence[Finding], kind: str) -> list[int]:
    """The lines of a kind."""
    return [finding.line for finding in findings if finding.kind == kind]


def kinds(findings: Sequence[Finding]) -> dict[int, list[str]]:
    """The kinds by line."""
    found: dict[int, list[str]] = {}
    for finding in findings:
        found.setdefault(finding.line, []).append(finding.kind)
    return found
