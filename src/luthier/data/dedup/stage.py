"""Deduplicate rows: exact repeats, near-duplicates, and what another set has too.

The order is: the same rows first, then rows near the other set, then clusters of near rows among those that are left. Kept
rows that are lines of a file are copied byte for byte, others written as lines. Memory holds numbers, never texts; beyond a budget the numbers lie in files.
"""

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.data.dedup.columns import Columns as NumberColumns
from luthier.data.dedup.embed import Embedder, hash_static_model, load_embedder
from luthier.data.dedup.exact import Prompts, conflicts, count_prompts, drop_exact
from luthier.data.dedup.judge import Judge, WordingReader
from luthier.data.dedup.output import Outputs, write_outputs
from luthier.data.dedup.picture import largest_clusters, repeated_pairs
from luthier.data.dedup.row_file import row_files
from luthier.data.dedup.scan import Rereader
from luthier.data.dedup.semantic import Semantic, drop_semantic
from luthier.data.dedup.sketch import LOWEST_THRESHOLD, Bands, Sketcher, choose_bands, find_engine
from luthier.data.dedup.sweep import Search, drop_against, drop_near
from luthier.data.dedup.table import Table, read_table
from luthier.data.dedup.verdict import Verdict
from luthier.floor.errors import UsageError
from luthier.floor.files import TEMPORARY_PREFIX, disk_faults, sha256_of
from luthier.floor.log import Listener, Silent
from luthier.floor.stop import StopFlag
from luthier.reports.dedup import DedupReport, PromptCounts
from luthier.reports.provenance import gather_provenance
from luthier.text.columns import Columns
from luthier.text.row_files import find_files, find_row_files, warn_of_files_passed_over

__all__ = ["DedupTask", "dedup"]

# Columns up to this size stay in memory; half as much again is used to sort. Measured: bench/dedup.
BUDGET_BYTES = 2 * 2**30
BATCH_ROWS = 4096
VERSION = 1
LOWEST_SIMILARITY = 0.5


@dataclass(frozen=True)
class DedupTask:
    """What to compare, and where the kept rows go; without `out` nothing is written."""

    sources: tuple[Path, ...]
    against: tuple[Path, ...] = ()
    columns: Columns | None = None
    """Which columns make a row; files to compare against may lack them."""
    threshold: float = 0.8
    exact_only: bool = False
    semantic_model: str | None = None
    """A folder of a static embedding model: rows are compared by what they mean as well."""
    similarity: float = 0.95
    out: Path | None = None
    overwrite: bool = False
    pairs_shown: int = 0


@dataclass(frozen=True)
class Found:
    """What the comparison came to."""

    table: Table
    verdict: Verdict
    as_written: Prompts
    folded: Prompts
    sketcher: Sketcher | None
    judge: Judge


def dedup(
    task: DedupTask,
    *,
    listener: Listener | None = None,
    stop: StopFlag | None = None,
    budget_bytes: int = BUDGET_BYTES,
    batch_rows: int = BATCH_ROWS,
) -> DedupReport:
    """Find repeats and write what stays. The result depends neither on `budget_bytes` nor on `batch_rows`.

    Raises UsageError if an output is there already, DataError naming every row that cannot be read.
    """
    listener, stop = listener or Silent(), stop or StopFlag()
    started = time.perf_counter()
    named = _find_inputs(task)
    for source in task.sources:
        warn_of_files_passed_over(source, listener)
    outputs = Outputs(task.out) if task.out else None
    if outputs:
        outputs.check((*named[0], *named[1]), overwrite=task.overwrite)
    sketcher = None if task.exact_only else Sketcher(find_engine(), _bands_of(task))
    embedder = _embedder_of(task)
    with (
        ExitStack() as stack,
        _workspace(task.out) as folder,
        NumberColumns(folder, budget_bytes=budget_bytes) as columns,
    ):
        sources = row_files(named[0], folder, columns=task.columns)
        against = row_files(named[1], folder, columns=task.columns, may_lack_columns=True)
        reader = stack.enter_context(Rereader((*sources, *against)))
        table = read_table(
            sources, against, columns, sketcher=sketcher, batch_rows=batch_rows, listener=listener, stop=stop
        )
        found = compare(
            table,
            sketcher,
            reader,
            semantic=Semantic(embedder, task.similarity, folder) if embedder else None,
            budget_bytes=budget_bytes,
            listener=listener,
            stop=stop,
        )
        report = _report(task, found, reader, outputs, budget_bytes=budget_bytes, started=started)
        if outputs:
            groups = conflicts(table, found.verdict.is_kept_S, budget_bytes=budget_bytes // 4)
            write_outputs(outputs, sources, table, found.verdict, reader, groups)
            report = report.model_copy(update={"seconds": time.perf_counter() - started})
            report.write(outputs.report)
        reader.check_unchanged()
    return report


def _find_inputs(task: DedupTask) -> tuple[list[Path], list[Path]]:
    sources = [file for path in task.sources for file in find_files(path, by_recipe=False)]
    against = [file for path in task.against for file in find_row_files(path, by_recipe=False)]
    seen: set[Path] = set()
    for file in (*sources, *against):
        if file.resolve() in seen:
            what = f"{file} is named twice: every row of it would repeat itself"
            raise UsageError("usage", what, where="the command line", fix="Name each file once.")
        seen.add(file.resolve())
    return sources, against


def _bands_of(task: DedupTask) -> Bands:
    check_threshold(task.threshold)
    return choose_bands(task.threshold)


def _embedder_of(task: DedupTask) -> Embedder | None:
    if task.semantic_model is None:
        return None
    check_similarity(task.similarity)
    return load_embedder(task.semantic_model, where="--semantic")


def check_threshold(threshold: float) -> None:
    """Raise UsageError for a Jaccard that cannot be, or at which unlike rows would count as near."""
    if not LOWEST_THRESHOLD <= threshold <= 1:
        raise UsageError(
            "usage",
            f"a threshold of {threshold:g}",
            where="--threshold",
            why=f"No two rows are more alike than 1; below {LOWEST_THRESHOLD} rows that share a phrase would count as the same.",
            fix=f"Choose one from {LOWEST_THRESHOLD} to 1; 0.8 is usual.",
        )


def check_similarity(similarity: float) -> None:
    """Raise UsageError for a cosine that cannot be, or at which unlike rows would count as the same."""
    if not LOWEST_SIMILARITY <= similarity <= 1:
        raise UsageError(
            "usage",
            f"a similarity of {similarity:g}",
            where="--similarity",
            why=f"No cosine is above 1; below {LOWEST_SIMILARITY} rows about the same thing would count as the same.",
            fix=f"Choose one from {LOWEST_SIMILARITY} to 1; 0.95 is careful, 0.9 is SemHash's own.",
        )


@contextmanager
def _workspace(out: Path | None) -> Iterator[Path]:
    """A folder for what does not fit into memory: beside the output, since /tmp may be memory itself."""
    parent = out.parent if out else Path(tempfile.gettempdir())
    with disk_faults(parent):
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY_PREFIX}dedup-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def compare(
    table: Table,
    sketcher: Sketcher | None,
    reader: WordingReader,
    *,
    semantic: Semantic | None = None,
    budget_bytes: int,
    listener: Listener,
    stop: StopFlag,
) -> Found:
    """Exact repeats, then what the other set has, then near rows, then those that mean the same."""
    sort_bytes = budget_bytes // 4
    as_written = count_prompts(table, table.written_N, budget_bytes=sort_bytes)
    folded = count_prompts(table, table.folded_N, budget_bytes=sort_bytes)
    verdict = Verdict.all_kept(table.first_against)
    is_first_N = drop_exact(table, verdict, budget_bytes=sort_bytes)
    judge = Judge(table, reader, sketcher.bands.threshold if sketcher else 1)
    if sketcher:
        search = Search(table, sketcher.bands, judge, sort_bytes, listener, stop)
        if len(table) > table.first_against:
            drop_against(search, verdict, is_first_N)
        drop_near(search, verdict)
    if semantic:
        drop_semantic(
            semantic, table, verdict, judge, budget_bytes=budget_bytes, listener=listener, stop=stop
        )
    return Found(table, verdict, as_written, folded, sketcher, judge)


def _report(
    task: DedupTask,
    found: Found,
    reader: Rereader,
    outputs: Outputs | None,
    *,
    budget_bytes: int,
    started: float,
) -> DedupReport:
    table, verdict = found.table, found.verdict
    files = {str(path): sha256_of(path) for path in table.files}
    against = [str(path) for path in table.files[table.source_files :]]
    rows_kept, counts = int(verdict.is_kept_S.sum()), verdict.counts()
    assert rows_kept + sum(counts.values()) == table.first_against, "the books of the deduplication balance"
    return DedupReport(
        inputs_hash=_hash_inputs(task, files, against),
        seconds=time.perf_counter() - started,
        provenance=gather_provenance(),
        files=files,
        against=against,
        threshold=None if task.exact_only else task.threshold,
        semantic_model=task.semantic_model,
        similarity=None if task.semantic_model is None else task.similarity,
        **_search_facts(found),
        rows_in=table.first_against,
        rows_against=len(table) - table.first_against,
        rows_kept=rows_kept,
        dropped=counts,
        prompts_as_written=_counts_of(found.as_written),
        prompts_folded=_counts_of(found.folded),
        conflicts_kept=sum(1 for _ in conflicts(table, verdict.is_kept_S, budget_bytes=budget_bytes // 4)),
        largest_clusters=largest_clusters(table, verdict, reader),
        pairs=repeated_pairs(table, verdict, reader, count=task.pairs_shown, leaks_only=bool(against)),
        out=str(outputs.rows) if outputs else None,
        dropped_file=str(outputs.dropped) if outputs else None,
        conflicts_file=str(outputs.conflicts) if outputs else None,
    )


def _search_facts(found: Found) -> dict[str, Any]:
    """How the near-duplicates were looked for."""
    sketcher, judge = found.sketcher, found.judge
    return {
        "engine": sketcher.engine.name if sketcher else None,
        "bands": sketcher.bands.count if sketcher else 0,
        "rows_per_band": sketcher.bands.rows if sketcher else 0,
        "pairs_compared": judge.pairs_compared,
        "pairs_confirmed": judge.pairs_confirmed,
        "spilled_bytes": found.table.spilled_bytes,
    }


def _counts_of(prompts: Prompts) -> PromptCounts:
    return PromptCounts(repeated=prompts.repeated, conflicting=prompts.conflicting)


def _hash_inputs(task: DedupTask, files: dict[str, str], against: Sequence[str]) -> str:
    parts: list[Any] = [VERSION, files, against, None if task.exact_only else task.threshold]
    if task.columns:
        parts.append(sorted(task.columns.of_field.items()))
    if task.semantic_model is not None:
        parts += [hash_static_model(task.semantic_model), task.similarity]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
