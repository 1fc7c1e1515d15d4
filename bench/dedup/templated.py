"""Measure `luthier data dedup` on rows of one long template, most of them just under the threshold.

    python bench/dedup/templated.py --before OLDER_CHECKOUT/src --json bench/dedup/templated.json

A row is 100 words that all share and 25 of its own: a Jaccard of 0.66 between any two. One row in fifty has two words of an
earlier one replaced, and must be found. `--before` runs an older version on the same rows, in turn, on the same machine.
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
SIZES = (1500, 6000, 24_000)
BEFORE_SIZES = (1500, 6000)
LIMIT_S = 200


def write_rows(path: Path, rows: int) -> int:
    """Rows of one template; returns how many of them are near an earlier one."""
    chance = random.Random(rows)
    vocabulary = [f"w{number}" for number in range(30_000)]
    shared = chance.choices(vocabulary, k=SHARED_WORDS)
    texts: list[list[str]] = []
    for number in range(1, rows + 1):
        if number % COPIES_EVERY:
            texts.append(shared + chance.choices(vocabulary, k=OWN_WORDS))
        else:
            texts.append(list(chance.choice([text for text in texts[-40:] if "copied" not in text])))
            texts[-1][SHARED_WORDS : SHARED_WORDS + 2] = ["copied", f"c{number}"]
    path.write_text("".join(json.dumps({"text": " ".join(text)}) + "\n" for text in texts), encoding="utf-8")
    return rows // COPIES_EVERY


def run(source: Path, rows: Path, out: Path) -> dict[str, object]:
    """The command as a person types it."""
    command = [sys.executable, "-m", "luthier", "data", "dedup", str(rows), "--out", str(out), "--json"]
    environment = os.environ | {"PYTHONPATH": str(source)}
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        done = subprocess.run(
            [*command, "--overwrite"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            check=True, env=environment, timeout=LIMIT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"seconds": f"not done after {LIMIT_S}"}
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = json.loads(done.stdout)
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, 1),
        "pairs_compared": report["pairs_compared"],
        "dropped": report["dropped"],
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
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            rows, out = Path(folder) / f"{size}.jsonl", Path(folder) / "out" / "out.jsonl"
            found: dict[str, object] = {"planted": write_rows(rows, size), "now": run(here, rows, out)}
            if options.before and size in BEFORE_SIZES:
                found["before"] = run(options.before, rows, out)
            result[f"{size} rows"] = found
    result["peak_bytes"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    text = json.dumps(result, indent=2) + "\n"
    print(text, end="")
    if options.json:
        options.json.write_text(text)


if __name__ == "__main__":
    main()
