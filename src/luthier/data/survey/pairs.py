"""Rows that repeat each other or leak, as the preparation or `luthier data dedup` left them; nothing is compared here."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from luthier.data.survey.origins import Fields, read_fields, text_of
from luthier.floor.stop import StopFlag
from luthier.reports.data import DataReport
from luthier.reports.dedup import DedupReport
from luthier.reports.leaks import LeakFindings, LeakPair
from luthier.reports.survey import LikePair, LikePairs

SHOWN = 20
TEXT_SHOWN = 1200
MOST_REPORTS = 200
MOST_REPORT_BYTES = 32 * 2**20
# Where `luthier data dedup` writes unless it is told otherwise.
DEDUP_FOLDER = Path("outputs/dedup")
GONE = "(the row is not there any more)"
NO_REPEATS = "Repeats were not looked for: data.dedup.kind=near leaves them out, luthier data dedup FILE --show 50 shows them."
NO_LEAKS = (
    "Leaks were not looked for: data.leaks.validation=true and data.leaks.suites=[FILE] look for them, "
    "luthier data dedup FILE --against TEST --show 50 as well."
)
BECAME = {
    "warn": "These rows are still trained on: data.leaks.found=drop leaves them out.",
    "drop": "These rows were left out.",
    "refuse": "",
}
# With --against, `luthier data dedup --show` keeps the pairs that leak alone.
HOW_TO_KEEP = {True: "repeat it with --show 50", False: "repeat it with --show 50 and without --against"}


def find_repeats(report: DataReport, stop: StopFlag) -> LikePairs:
    """Repeats that the preparation left out; if it looked for none, those of a deduplication of the same files."""
    if any(books.stage == "deduplicated" for books in report.ledger):
        return _dropped_pairs(Path(report.dropped_file), stop)
    return _dedup_pairs(report, are_leaks=False) or LikePairs(pairs=[], found=0, told=NO_REPEATS)


def find_leaks(report: DataReport) -> LikePairs:
    """Leaks that the preparation found; if it looked for none, those of a deduplication of the same files."""
    if report.leaks is not None:
        return _leak_pairs(report.leaks)
    return _dedup_pairs(report, are_leaks=True) or LikePairs(pairs=[], found=0, told=NO_LEAKS)


@dataclass
class _Dropped:
    """Rows that were left out as repeats: the first of them, and how many there are."""

    count: int = 0
    first: list[dict[str, Any]] = field(default_factory=list)


def _dropped_pairs(path: Path, stop: StopFlag) -> LikePairs:
    """From the file of dropped rows, whose lines name the row that stays; the texts from the files of the rows."""
    dropped = _Dropped()
    if path.is_file():
        with open(path, encoding="utf-8") as file:
            for entry in map(json.loads, file):
                if entry["stage"] == "deduplicated":
                    dropped.count += 1
                    dropped.first += [entry] if len(dropped.first) < SHOWN else []
    texts = read_fields([each[key] for each in dropped.first for key in ("origin", "repeats")], stop)
    pairs = [
        LikePair(
            kind=each["reason"],
            likeness=f"cosine {each['cosine']:.3f}" if "cosine" in each else _jaccard(each["jaccard"]),
            row=each["repeats"],
            text=_text(texts, each["repeats"]),
            other=each["origin"],
            other_text=_text(texts, each["origin"]),
        )
        for each in dropped.first
    ]
    return LikePairs(pairs=pairs, found=dropped.count, told="Left out while the rows were prepared.")


def _text(texts: dict[str, Fields], origin: str) -> str:
    return text_of(texts[origin])[:TEXT_SHOWN] if origin in texts else GONE


def _leak_pairs(findings: LeakFindings) -> LikePairs:
    counts = [each for each in (findings.suites, findings.validation) if each]
    found = sum(each.rows_leaking for each in counts)
    looked = " and ".join(
        name
        for name, each in (("suites", findings.suites), ("validation rows", findings.validation))
        if each is not None
    )
    told = (
        f"Training rows that hold a question of {looked}. {BECAME[findings.found] if found else ''}".strip()
    )
    pairs = [
        LikePair(
            kind=each.kind,
            likeness=_likeness(each),
            row=each.against,
            text=each.against_text[:TEXT_SHOWN],
            other=each.row,
            other_text=each.text[:TEXT_SHOWN],
        )
        for each in findings.pairs[:SHOWN]
    ]
    return LikePairs(pairs=pairs, found=found, told=told)


def _likeness(pair: LeakPair) -> str:
    if pair.run_words is not None:
        return f"{pair.run_words} words in a row"
    return "" if pair.jaccard is None else _jaccard(pair.jaccard)


def _jaccard(value: float) -> str:
    return f"Jaccard {value:.3f}"


def _dedup_pairs(report: DataReport, *, are_leaks: bool) -> LikePairs | None:
    """From the newest report of a deduplication that looked for them; None if there is none."""
    for name, dedup in _dedup_reports(report):
        if are_leaks and not dedup.against:
            continue
        pairs = [
            LikePair(
                kind=each.kind,
                likeness=f"cosine {each.jaccard:.3f}" if each.measure == "cosine" else _jaccard(each.jaccard),
                row=each.repeats,
                text=each.repeated_text[:TEXT_SHOWN],
                other=each.row,
                other_text=each.text[:TEXT_SHOWN],
            )
            for each in dedup.pairs
            if each.kind.startswith("against") == are_leaks
        ]
        found = sum(rows for kind, rows in dedup.dropped.items() if kind.startswith("against") == are_leaks)
        lacks = "" if pairs or not found else f" It holds no pair of them: {HOW_TO_KEEP[are_leaks]}."
        told = f"Found by luthier data dedup, as {name} says.{lacks}"
        return LikePairs(pairs=pairs[:SHOWN], found=found, told=told)
    return None


def _dedup_reports(report: DataReport) -> Iterator[tuple[str, DedupReport]]:
    """Deduplications that read a file of this preparation, by its SHA-256, or wrote one; the newest first."""
    hashes, files = set(report.files.values()), {Path(name).resolve() for name in report.files}
    folders = dict.fromkeys([DEDUP_FOLDER, *(Path(name).parent for name in report.files)])
    for path in _newest(path for folder in folders for path in folder.glob("*.report.json")):
        try:
            found = DedupReport.model_validate_json(path.read_bytes())
        except (ValidationError, OSError):  # another stage's, or one of an older version
            continue
        sources = {digest for name, digest in found.files.items() if name not in found.against}
        if sources & hashes or (found.out and Path(found.out).resolve() in files):
            yield str(path), found


def _newest(paths: Iterable[Path]) -> list[Path]:
    there = [path for path in paths if path.is_file() and path.stat().st_size <= MOST_REPORT_BYTES]
    return sorted(there, key=lambda path: -path.stat().st_mtime)[:MOST_REPORTS]
