"""Measure the data sets whose repeats are known: nl2bash, opentriviaqa, banking77, and the trend of gpteacher.

    python bench/dedup/known.py DATA_FOLDER --json bench/dedup/known.json

DATA_FOLDER holds `nl2bash/all.nl`, `nl2bash/all.cm`, `opentriviaqa/trivia.jsonl.xz`, `banking77/{train,test}.csv` and
`gpteacher/toolformer-dedupe-only-dataset.json.xz` as their projects publish them.
"""

import argparse
import csv
import json
import lzma
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from luthier.data.dedup.stage import DedupTask, dedup
from luthier.reports.dedup import DedupReport

# Of upstream's own tool, another algorithm: the trend is to be seen, not the number.
GPTEACHER_KEPT = {0.9: 5959, 0.8: 4709, 0.7: 3487, 0.6: 2396}


def pairs(found: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    """Prompt and completion rows."""
    return [{"prompt": prompt, "completion": completion} for prompt, completion in found]


def nl2bash(data: Path) -> list[dict[str, str]]:
    """Description and command."""
    sides = [
        (data / "nl2bash" / name).read_text(encoding="utf-8").splitlines() for name in ("all.nl", "all.cm")
    ]
    return pairs(zip(*sides, strict=True))


def trivia(data: Path) -> list[dict[str, str]]:
    """Question and answer."""
    with lzma.open(data / "opentriviaqa" / "trivia.jsonl.xz", "rt", encoding="utf-8") as file:
        return pairs((row["question"], row["answer"]) for row in map(json.loads, file))


def banking(data: Path, split: str) -> list[dict[str, str]]:
    """Question and category."""
    with open(data / "banking77" / f"{split}.csv", encoding="utf-8", newline="") as file:
        return pairs((row["text"], row["category"]) for row in csv.DictReader(file))


def gpteacher(data: Path) -> list[dict[str, str]]:
    """Plain text: upstream compared whole rows."""
    with lzma.open(
        data / "gpteacher" / "toolformer-dedupe-only-dataset.json.xz", "rt", encoding="utf-8"
    ) as file:
        return [
            {"text": "\n".join((row["instruction"], row["input"], row["response"]))}
            for row in json.load(file)
        ]


def measure(rows: list[dict[str, str]], threshold: float = 0.8) -> tuple[DedupReport, float]:
    """The report of a dry run, and its seconds."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "rows.jsonl"
        source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        started = time.perf_counter()
        report = dedup(DedupTask(sources=(source,), threshold=threshold))
        return report, time.perf_counter() - started


def facts(report: DedupReport, seconds: float) -> dict[str, Any]:
    """What is compared with the known numbers, and what else was found."""
    return {
        "rows": report.rows_in,
        "kept": report.rows_kept,
        "dropped": report.dropped,
        "prompts_as_written": report.prompts_as_written.model_dump(),
        "prompts_folded": report.prompts_folded.model_dump(),
        "seconds": round(seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    result: dict[str, Any] = {
        "nl2bash (872 conflicting as written)": facts(*measure(nl2bash(options.data))),
        "opentriviaqa (425 repeated as written)": facts(*measure(trivia(options.data))),
        "banking77 train (31 repeated folded)": facts(*measure(banking(options.data, "train"))),
        "banking77 test (4 repeated folded)": facts(*measure(banking(options.data, "test"))),
    }
    for threshold, upstream in GPTEACHER_KEPT.items():
        found = facts(*measure(gpteacher(options.data), threshold))
        result[f"gpteacher at {threshold} (upstream kept {upstream})"] = found
    text = json.dumps(result, indent=2) + "\n"
    print(text, end="")
    if options.json:
        options.json.write_text(text)


if __name__ == "__main__":
    main()
