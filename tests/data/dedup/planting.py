"""Rows with known repeats, and what a deduplication of them left."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luthier.data.dedup.stage import DedupTask, dedup
from luthier.reports.dedup import DedupReport

WORDS = [
    f"{first}{second}" for first in "bcdfgklmnprst" for second in ("a", "ela", "imo", "on", "ure", "ysta")
]


def write_rows(path: Path, rows: Sequence[object]) -> Path:
    """A JSONL file; bytes are written as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=False).encode() for row in rows]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def sentence(seed: int, words: int = 40) -> str:
    """Words by chance; two seeds share next to no run of three."""
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def changed(text: str, seed: int) -> str:
    """One word of the text replaced: of 40 words, 35 of 41 shingles stay, a Jaccard of 0.854."""
    words = text.split()
    words[random.Random(seed).randrange(3, len(words) - 3)] = f"new{seed}"
    return " ".join(words)


def run(folder: Path, *sources: Path, **settings: Any) -> DedupReport:
    """Deduplicate into `folder/out.jsonl`, or as the settings say."""
    limits = {
        name: settings.pop(name)
        for name in ("budget_bytes", "batch_rows", "listener", "stop")
        if name in settings
    }
    task = DedupTask(sources=sources, **({"out": folder / "out.jsonl"} | settings))
    return dedup(task, **limits)


def kept_lines(folder: Path) -> list[bytes]:
    """The lines of the kept rows."""
    return (folder / "out.jsonl").read_bytes().splitlines(keepends=True)


def dropped_rows(folder: Path) -> list[dict[str, Any]]:
    """The dropped rows, in order."""
    return [json.loads(line) for line in (folder / "out.dropped.jsonl").read_text().splitlines()]


def conflicts(folder: Path) -> list[dict[str, Any]]:
    """The listed conflicts."""
    return [json.loads(line) for line in (folder / "out.conflicts.jsonl").read_text().splitlines()]
