"""Measure `luthier data dedup` on planted near-duplicates: recall by Jaccard, precision, seconds, peak memory.

    python bench/dedup/measure.py --rows 100000 --json bench/dedup/rows-100k.json

The planted rows are made from a seed. Their true Jaccard is worked out here, by code of its own over words, not by the code
that is measured. A pair counts as found if both rows end in the same place: one repeats the other, or both repeat a third.
"""

import argparse
import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from importlib import metadata
from pathlib import Path

import numpy as np

VOCABULARY = 30_000
WORDS_A_ROW = 150
COPIED_SHARE = 0.2  # of the rows are copies of an earlier row with some words changed
MOST_CHANGES = 10  # 5 single changes leave 133 of 163 shingles, 0.816; 6 leave 0.783
BINS = (0.70, 0.75, 0.80, 0.81, 0.83, 0.85, 0.90, 0.95, 1.0001)
THRESHOLD = 0.8


def make_words(random: np.random.Generator) -> np.ndarray:
    """Different words of 3 to 9 letters."""
    words: set[str] = set()
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    while len(words) < VOCABULARY:
        words.update("".join(random.choice(letters, size=random.integers(3, 10))) for _ in range(1000))
    return np.array(sorted(words)[:VOCABULARY])


def plant(path: Path, rows: int, seed: int) -> list[tuple[int, int, float]]:
    """Write the rows; returns original line, copy's line and true Jaccard of every planted pair."""
    random = np.random.default_rng(seed)
    words = make_words(random)
    # Zipf's law: word k comes with a frequency of 1/k.
    frequency = 1 / np.arange(1, VOCABULARY + 1)
    cumulative = np.cumsum(frequency / frequency.sum())
    recent: list[tuple[int, np.ndarray]] = []
    pairs = []
    with open(path, "w", encoding="utf-8") as file:
        for line in range(1, rows + 1):
            if recent and random.random() < COPIED_SHARE:
                origin, ids = recent.pop(int(random.integers(len(recent))))
                copy = changed(ids, random)
                pairs.append((origin, line, true_jaccard(ids, copy)))
                ids = copy
            else:
                ids = np.searchsorted(cumulative, random.random(WORDS_A_ROW))
                recent.append((line, ids))
                if len(recent) > 20_000:
                    recent.pop(0)
            file.write(json.dumps({"text": " ".join(words[ids])}) + "\n")
    return pairs


def changed(ids: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Some words replaced, taken out or put in, alone or in a run."""
    copy = ids.tolist()
    for _ in range(int(random.integers(0, MOST_CHANGES + 1))):
        place = int(random.integers(len(copy)))
        kind = random.integers(3)
        fresh = int(random.integers(VOCABULARY))
        if kind == 0:
            copy[place] = fresh
        elif kind == 1:
            del copy[place]
        else:
            copy.insert(place, fresh)
    return np.array(copy)


def true_jaccard(left: np.ndarray, right: np.ndarray) -> float:
    """Over runs of three words."""
    one, two = (set(zip(ids, ids[1:], ids[2:], strict=False)) for ids in (left.tolist(), right.tolist()))
    return len(one & two) / len(one | two)


def run(source: Path, out: Path) -> tuple[dict, float, int]:
    """The command as a person types it: its report, seconds, and the peak memory of the process in bytes."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "luthier", "data", "dedup", str(source), "--out", str(out), "--json"]
    done = subprocess.run([*command, "--threshold", str(THRESHOLD)], stdout=subprocess.PIPE, check=True)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return json.loads(done.stdout), seconds, peak


def judge(source: Path, dropped: Path, pairs: list[tuple[int, int, float]]) -> dict:
    """Recall of the planted pairs by Jaccard, and precision of every dropped row by the texts themselves."""
    links = [json.loads(line) for line in dropped.read_text().splitlines()]
    keeper = {line_of(link["row"]): line_of(link["repeats"]) for link in links}
    found: dict[int, list[bool]] = defaultdict(list)
    for origin, copy, alike in pairs:
        place = int(np.searchsorted(BINS, alike, side="right")) - 1
        found[place].append(keeper.get(origin, origin) == keeper.get(copy, copy))
    recall = {
        f"{BINS[place]:.2f} to {min(BINS[place + 1], 1):.2f}": {
            "pairs": len(hits), "found": sum(hits), "recall": sum(hits) / len(hits)
        }
        for place, hits in sorted(found.items())
        if place >= 0
    }  # fmt: skip
    above = [
        hit
        for place, hits in found.items()
        if BINS[max(place, 0)] >= THRESHOLD and place >= 0
        for hit in hits
    ]
    right = sum(is_right(link, source) for link in links)
    return {
        "planted_pairs": len(pairs),
        "planted_at_or_above": len(above),
        "recall": sum(above) / len(above),
        "recall_by_jaccard": recall,
        "dropped": len(links),
        "precision": right / len(links),
    }


LINES: dict[Path, list[bytes]] = {}


def is_right(link: dict, source: Path) -> bool:
    """Whether a dropped row is within the threshold of the row that stays in its place."""
    if source not in LINES:
        LINES[source] = source.read_bytes().splitlines()
    lines = LINES[source]
    texts = [json.loads(lines[line_of(link[key]) - 1])["text"] for key in ("row", "repeats")]
    one, two = (set(zip(w, w[1:], w[2:], strict=False)) for w in (re.findall(r"\w+", text) for text in texts))
    return len(one & two) / len(one | two) >= THRESHOLD


def line_of(origin: str) -> int:
    """17 of `rows.jsonl:17`"""
    return int(origin.rpartition(":")[2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "rows.jsonl", Path(folder) / "out" / "rows.jsonl"
        pairs = plant(source, options.rows, options.seed)
        source_bytes = source.stat().st_size
        load = os.getloadavg()[0]
        report, seconds, peak = run(source, out)
        result = judge(source, out.with_name("rows.dropped.jsonl"), pairs)
    result |= {
        "rows": options.rows, "words_a_row": WORDS_A_ROW, "source_bytes": source_bytes, "seed": options.seed,
        "threshold": THRESHOLD, "bands": report["bands"], "rows_per_band": report["rows_per_band"],
        "rows_kept": report["rows_kept"], "pairs_compared": report["pairs_compared"],
        "pairs_confirmed": report["pairs_confirmed"], "spilled_bytes": report["spilled_bytes"],
        "seconds": round(seconds, 1), "peak_bytes": peak, "engine": report["engine"],
        "hardware": f"{cpu_name()}, {os.cpu_count()} cores", "load_before": load,
        "versions": {"python": platform.python_version()} | {
            name: metadata.version(name) for name in ("luthier", "rensa", "numpy")
        },
    }  # fmt: skip
    text = json.dumps(result, indent=2) + "\n"
    print(text, end="")
    if options.json:
        options.json.write_text(text)


def cpu_name() -> str:
    """What /proc/cpuinfo calls the processor."""
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return found.group(1) if found else platform.machine()


if __name__ == "__main__":
    main()
