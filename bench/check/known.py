"""Check data sets whose faults were counted by other means, and measure the speed of a check on rows made from a text.

    python bench/check/known.py DATA_FOLDER --json bench/check/known.json

DATA_FOLDER holds `nl2bash/all.nl`, `nl2bash/all.cm`, `opentriviaqa/trivia.jsonl.xz`, `banking77/{train,test}.csv`,
`gsm8k/train.jsonl` and `formats/openai_chat_finetune_examples.jsonl` as their projects publish them. The seconds are those of
the processor, on one core (`taskset -c 0`, RAYON_NUM_THREADS=1): other work on the machine does not change them.
"""

import argparse
import csv
import json
import lzma
import random
import resource
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from luthier.data.check.stage import CheckTask, check

REPEATS = ("duplicate", "duplicate-prompt", "duplicate-folded")
SPEED_ROWS = 100_000
SEED = 7


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
    """Text and category."""
    with open(data / "banking77" / f"{split}.csv", encoding="utf-8", newline="") as file:
        return pairs((row["text"], row["category"]) for row in csv.DictReader(file))


def gsm8k(data: Path) -> list[dict[str, str]]:
    """Question and answer, as conversion writes them."""
    with open(data / "gsm8k" / "train.jsonl", encoding="utf-8") as file:
        return pairs((row["question"], row["answer"]) for row in map(json.loads, file))


def short_rows(rows: list[dict[str, str]], count: int) -> list[dict[str, str]]:
    """Rows of 25 to 60 words, drawn from the words of other rows: none repeats another."""
    draw = random.Random(SEED)
    words = [word for row in rows for word in row["prompt"].split()]
    made = []
    for number in range(count):
        text = draw.choices(words, k=draw.randrange(25, 60))
        made.append((f"{number} " + " ".join(text[:20]), " ".join(text[20:])))
    return pairs(made)


def measure(rows: list[dict[str, str]], folder: Path, name: str) -> dict[str, Any]:
    """What a check of the rows counts, and the processor's seconds that it takes."""
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    started = time.process_time()
    with check(CheckTask((path,))) as found:
        counts = dict(sorted(found.store.counts.items()))
        mojibake = {finding.line for finding in found.store.by_place() if finding.kind == "mojibake"}
    with_tilde = {number for number, row in enumerate(rows, start=1) if "Ã" in row["prompt"]}
    return {
        "rows": len(rows),
        "conflicts": counts.get("conflict", 0),
        "repeats as written": sum(counts.get(kind, 0) for kind in REPEATS[:2]) + counts.get("conflict", 0),
        "repeats folded": sum(counts.get(kind, 0) for kind in REPEATS) + counts.get("conflict", 0),
        "prompts with the letter Ã, of which called mojibake": [len(with_tilde), len(with_tilde & mojibake)],
        "errors": found.store.count("error"),
        "counts": counts,
        "cpu_seconds": round(time.process_time() - started, 1),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main() -> None:
    """Measure every set and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    sets = {
        "nl2bash (872 conflicts as written)": nl2bash(options.data),
        "opentriviaqa (425 repeats as written, 114 with mojibake)": trivia(options.data),
        "banking77 train (31 repeats folded)": banking(options.data, "train"),
        "banking77 test (4 repeats folded)": banking(options.data, "test"),
        "gsm8k train (no error)": gsm8k(options.data),
    }
    sets["short rows (speed)"] = short_rows(sets["gsm8k train (no error)"], SPEED_ROWS)
    with tempfile.TemporaryDirectory() as folder:
        found = {name: measure(rows, Path(folder), f"set{n}") for n, (name, rows) in enumerate(sets.items())}
    options.json.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for name, row in found.items():
        print(f"{name}: {row}")


if __name__ == "__main__":
    main()
