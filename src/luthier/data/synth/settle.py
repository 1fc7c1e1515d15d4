"""Make rows of the answers in the journal, in the order of the seeds, and enter into the books what became none.

Depends on the journal alone: typed again, the same rows come out, byte for byte.
"""

import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from luthier.data.dedup.stage import DedupTask, dedup
from luthier.data.synth.journal import Journal
from luthier.data.synth.places import Places
from luthier.data.synth.prompts import Prompts
from luthier.data.synth.seeds import Asking
from luthier.data.synth.task import Form, SynthTask
from luthier.floor.errors import DataError
from luthier.floor.files import TEMPORARY_PREFIX, disk_faults, sync_file, sync_folder
from luthier.floor.log import Listener
from luthier.floor.stop import StopFlag

FIELD = "synth"
NO_ROW = "made no row"
EMPTY_ROW = "empty row"
TEXT_SHOWN = 400


@dataclass
class Settled:
    """The books of the rows."""

    rows: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    missing: int = 0
    """Askings without an answer."""


def settle(
    task: SynthTask,
    form: Form,
    prompts: Prompts,
    journal: Journal,
    askings: Iterable[Asking],
    *,
    listener: Listener,
    stop: StopFlag,
) -> Settled:
    """Write the rows and the ledger of what was left out, each under its name when whole.

    Raises DataError (data-empty) if there is no row, having written the ledger.
    """
    places, books = Places(task.out), Settled()
    with _workspace(places.rows) as folder:
        candidates, dropped = folder / "rows.jsonl", folder / "dropped"
        keys: list[str] = []
        with open(candidates, "wb") as rows, open(dropped, "wb") as ledger:
            for asking in askings:
                stop.check("stopped while the rows were written", fix="Type the same line again.")
                row, line = _row_or_reason(asking, task, form, prompts, journal, books)
                if row is not None:
                    rows.write(_json(row))
                    keys.append(f"{asking.seed.origin}#{asking.sample}")
                elif line is not None:
                    ledger.write(_json(line))
        if keys:
            kept = _deduplicate(task, folder, keys, books, listener=listener, stop=stop)
            _publish(dropped, places.dropped)
            _publish(kept, places.rows)
            return books
        _publish(dropped, places.dropped)
    raise _no_row(books, places)


def _row_or_reason(
    asking: Asking, task: SynthTask, form: Form, prompts: Prompts, journal: Journal, books: Settled
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """The row of an asking, or its line in the ledger, or neither where there is no answer."""
    record = journal.read(asking.key)
    if record is None:
        books.missing += 1
        return None, None
    ruling = journal.judge.rule(record)
    reason, detail, row = ruling.reason, ruling.detail, None
    if reason is None:
        try:
            row = prompts.row(asking.seed, ruling.answer, text=record["text"].strip(), form=form)
        except DataError as fault:
            reason, detail = NO_ROW, fault.what
        else:
            if not all(text.strip() for text in _texts(row)):
                reason, row = EMPTY_ROW, None
    if row is not None:
        return row | {FIELD: _provenance(asking, record, task, prompts)}, None
    assert reason is not None
    books.dropped[reason] += 1
    line = {"seed": asking.seed.origin, "sample": asking.sample, "reason": reason, "detail": detail}
    return None, line | {"text": record.get("text", "")[:TEXT_SHOWN]}


def _texts(row: dict[str, Any]) -> list[str]:
    if "messages" in row:
        return [message["content"] for message in row["messages"] if message["role"] != "system"]
    return [row["prompt"], row["completion"]]


def _provenance(asking: Asking, record: dict[str, Any], task: SynthTask, prompts: Prompts) -> dict[str, Any]:
    """Where a row comes from; never a key, and of the endpoint its host alone."""
    return {
        "model": task.model,
        "answered_by": record["model"],
        "endpoint": urlsplit(task.endpoint).netloc,
        "template": prompts.digest,
        "seed": asking.seed.origin,
        "seed_id": asking.seed.name,
        "sample": asking.sample,
        "settings": task.sampling.fields(),
        "finish_reason": record["finish_reason"],
        "usage": record["usage"],
        "time": record["time"],
    }


def _deduplicate(
    task: SynthTask, folder: Path, keys: list[str], books: Settled, *, listener: Listener, stop: StopFlag
) -> Path:
    """The file of the rows that repeat neither an earlier one nor what exists; the ledger is lengthened."""
    candidates, kept = folder / "rows.jsonl", folder / "kept.jsonl"
    job = DedupTask(
        sources=(candidates,),
        against=task.against,
        threshold=task.threshold,
        exact_only=task.exact_only,
        out=kept,
    )
    report = dedup(job, listener=listener, stop=stop)
    books.rows = report.rows_kept
    here = f"{candidates}:"

    def named(origin: str) -> str:
        return keys[int(origin.removeprefix(here)) - 1] if origin.startswith(here) else origin

    with (
        open(folder / "kept.dropped.jsonl", encoding="utf-8") as found,
        open(folder / "dropped", "ab") as out,
    ):
        for line in map(json.loads, found):
            reason = f"duplicate: {line['kind']}"
            seed, _, sample = named(line["row"]).rpartition("#")
            detail = f"repeats {named(line['repeats'])}, Jaccard {line['jaccard']:.3f}"
            books.dropped[reason] += 1
            out.write(_json({"seed": seed, "sample": int(sample), "reason": reason, "detail": detail}))
    return kept


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


@contextmanager
def _workspace(rows: Path) -> Iterator[Path]:
    """A folder beside the rows, so that a rename stays on one file system."""
    with disk_faults(rows):
        rows.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY_PREFIX}synth-", dir=rows.parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _publish(temporary: Path, final: Path) -> None:
    sync_file(temporary)
    os.replace(temporary, final)
    sync_folder(final.parent)


def _no_row(books: Settled, places: Places) -> DataError:
    listed = [f"{count:,} {reason}" for reason, count in books.dropped.most_common()]
    return DataError(
        "data-empty",
        f"no answer became a row; {books.missing:,} are missing",
        where=str(places.journal),
        problems=listed,
        fix=f"Look at what came: less {places.dropped}",
    )
