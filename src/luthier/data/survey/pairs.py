"""Rows that repeat each other or leak, as the preparation or `luthier data dedup` left them; nothing is compared here."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from luthier.data.survey.origins import read_fields, text_of
from luthier.floor.stop import StopFlag
from luthier.reports.data import DataReport
from luthier.reports.dedup import DedupReport
from luthier.reports.survey import LikePair, LikePairs

SHOWN = 20
TEXT_SHOWN = 1200
MOST_REPORTS = 200
MOST_REPORT_BYTES = 32 * 2**20
# Where `luthier data dedup` writes unless it is told otherwise.
DEDUP_FOLDER = Path("outputs/dedup")
STAGES = {"deduplicated": "repeats", "leaks": "leaks"}
NO_REPEATS = "No search for repeats is part of this preparation, and none of these files is known: luthier data dedup FILE --show"
# With --against, it shows leaks alone.
HOW_TO_KEEP = {"repeats": "repeat it with --show and without --against", "leaks": "repeat it with --show"}
NO_LEAKS = (
    "No search for leaks is part of this preparation, and none of these files is known: "
    "luthier data dedup FILE --against TEST --show"
)


@dataclass
class _Found:
    """Pairs of one kind: the first of them, and how many there are."""

    count: int = 0
    first: list[dict[str, Any]] = field(default_factory=list)


def find_pairs(report: DataReport, stop: StopFlag) -> tuple[LikePairs, LikePairs]:
    """Repeats and leaks: from the rows that the preparation dropped, else from reports of deduplications of the same files."""
    dropped = _dropped_pairs(Path(report.dropped_file))
    stages = {books.stage for books in report.ledger}
    origins = [
        origin
        for found in dropped.values()
        for each in found.first
        for origin in (each["origin"], each["other"])
    ]
    texts = read_fields(origins, stop)
    made = {kind: [_pair(each, texts) for each in found.first] for kind, found in dropped.items()}
    kept = {kind: found.count for kind, found in dropped.items()}
    told = {"repeats": NO_REPEATS, "leaks": NO_LEAKS}
    for stage, kind in STAGES.items():
        if stage in stages:
            told[kind] = "Found while the rows were prepared; the row on the right was left out."
    for name, dedup in _dedup_reports(report):
        for kind in ("repeats", "leaks"):
            pairs = [each for each in dedup.pairs if each.kind.startswith("against") == (kind == "leaks")]
            is_of_kind = bool(dedup.against) or kind == "repeats"
            if made[kind] or not is_of_kind:
                continue
            kept[kind] = sum(
                rows
                for what, rows in dedup.dropped.items()
                if what.startswith("against") == (kind == "leaks")
            )
            shown = "" if pairs or not kept[kind] else f" It holds no pair of them: {HOW_TO_KEEP[kind]}."
            told[kind] = f"Found by luthier data dedup, as {name} says.{shown}"
            made[kind] = [
                LikePair(
                    kind=each.kind, likeness=f"Jaccard {each.jaccard:.3f}", row=each.repeats, text=each.repeated_text,
                    other=each.row, other_text=each.text,
                )
                for each in pairs[:SHOWN]
            ]  # fmt: skip
    repeats, leaks = (
        LikePairs(pairs=made[kind], found=kept[kind], told=told[kind]) for kind in ("repeats", "leaks")
    )
    return repeats, leaks


def _dropped_pairs(path: Path) -> dict[str, _Found]:
    """The lines of dropped rows that name the row which they repeat."""
    found = {kind: _Found() for kind in STAGES.values()}
    if not path.is_file():
        return found
    with open(path, encoding="utf-8") as file:
        for line in file:
            entry = json.loads(line)
            kind = STAGES.get(entry["stage"])
            other = entry.get("repeats") or entry.get("against")
            if kind is None or not isinstance(other, str):
                continue
            found[kind].count += 1
            if len(found[kind].first) < SHOWN:
                found[kind].first.append(entry | {"other": other})
    return found


def _pair(entry: dict[str, Any], texts: dict[str, dict[str, Any]]) -> LikePair:
    def text(origin: str) -> str:
        fields = texts.get(origin)
        return text_of(fields)[:TEXT_SHOWN] if fields else "(the row is not there any more)"

    jaccard, run = entry.get("jaccard"), entry.get("run_words")
    likeness = (
        f"Jaccard {jaccard:.3f}" if isinstance(jaccard, float) else f"{run} words in a row" if run else ""
    )
    return LikePair(
        kind=str(entry.get("kind") or entry["reason"]),
        likeness=likeness,
        row=entry["other"],
        text=text(entry["other"]),
        other=entry["origin"],
        other_text=text(entry["origin"]),
    )


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
