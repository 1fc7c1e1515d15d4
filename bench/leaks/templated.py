"""Measure `luthier data leaks` on questions of one template, of which every row looks like every other.

    python bench/leaks/templated.py --before OLDER_CHECKOUT/src --json bench/leaks/templated.json

A question is 100 words that all share and 25 of its own: a Jaccard of 0.66 between any two. Rows to train on are such questions too;
one in fifty is a held-out one with two words replaced, and must be found. In a second round the words of its own are five of twenty
phrases, so that a question is near many others. `--before` runs an older version on the same files.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SHARED_WORDS, OWN_WORDS = 100, 25
COPIES_EVERY = 50
SIZES = ((2000, 500), (8000, 2000), (32_000, 8000))
BEFORE_SIZE = SIZES[0]
LIMIT_S = 200


def write_files(folder: Path, rows: int, questions: int, *, phrases: int | None) -> tuple[Path, Path, int]:
    """Rows and questions of one template; returns both files and how many rows were made from a question."""
    chance = random.Random(rows)
    vocabulary = [f"w{number}" for number in range(30_000)]
    shared = chance.choices(vocabulary, k=SHARED_WORDS)
    drawn = [chance.choices(vocabulary, k=OWN_WORDS // 5) for _ in range(phrases or 0)]

    def question() -> list[str]:
        if not drawn:
            return shared + chance.choices(vocabulary, k=OWN_WORDS)
        return shared + [word for _ in range(5) for word in chance.choice(drawn)]

    asked = [question() for _ in range(questions)]
    trained = [question() for _ in range(rows)]
    for number in range(0, rows, COPIES_EVERY):
        trained[number] = list(chance.choice(asked))
        trained[number][SHARED_WORDS : SHARED_WORDS + 2] = ["copied", f"c{number}"]
    for name, texts in (("rows", trained), ("questions", asked)):
        lines = (json.dumps({"prompt": " ".join(text), "completion": "yes"}) + "\n" for text in texts)
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder / "rows.jsonl", folder / "questions.jsonl", rows // COPIES_EVERY


def run(source: Path, rows: Path, questions: Path) -> dict[str, object]:
    """The command as a person types it."""
    command = [
        sys.executable,
        "-m",
        "luthier",
        "data",
        "leaks",
        str(rows),
        "--against",
        str(questions),
        "--json",
    ]
    environment = os.environ | {"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
            env=environment,
            timeout=LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        return {"seconds": f"not done after {LIMIT_S}"}
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    counts = json.loads(done.stdout)["counts"]
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, 1),
        "kinds": counts["kinds"],
        "leaked_kinds": counts["leaked_kinds"],
        "candidates_passed_over": counts.get("candidates_passed_over", 0),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, help="the src folder of an older version")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    here = Path(__file__).resolve().parents[2] / "src"
    result: dict[str, object] = {
        "words_shared": SHARED_WORDS, "words_of_its_own": OWN_WORDS, "threshold": 0.8,
        "cores": os.cpu_count(), "load_before": os.getloadavg()[0],
    }  # fmt: skip
    for name, phrases, sizes in (("words by chance", None, SIZES), ("of twenty phrases", 20, SIZES[:2])):
        for rows, questions in sizes:
            with tempfile.TemporaryDirectory() as folder:
                *files, planted = write_files(Path(folder), rows, questions, phrases=phrases)
                found = {"rows": rows, "questions": questions, "planted": planted, "now": run(here, *files)}
                if options.before and (rows, questions) == BEFORE_SIZE:
                    found["before"] = run(options.before, *files)
                result.setdefault(name, []).append(found)  # type: ignore[attr-defined]
    text = json.dumps(result, indent=2) + "\n"
    print(text, end="")
    if options.json:
        options.json.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
