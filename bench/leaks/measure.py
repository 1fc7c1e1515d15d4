"""Plant questions of benchmark suites in the training rows of GSM8K and look for them: what is found, what is found wrongly, how fast.

    python bench/leaks/measure.py DATA_FOLDER --json bench/leaks/suites.json

DATA_FOLDER holds `gsm8k/train.jsonl` and folders `bench-*`. Planted: questions of at least eight words, as they are, in capitals
without signs, inside a longer answer, and with one word of twenty changed. Whatever is found without planting is listed.
"""

import argparse
import json
import os
import platform
import random
import re
import resource
import time
from pathlib import Path

from luthier.data.leaks.find import find_leaks
from luthier.data.leaks.suites import read_suites, suite_files
from luthier.data.leaks.words import FEWEST_RUN_WORDS, words_of
from luthier.floor.log import Silent
from luthier.text.rows import Row, read_rows

PLANTED_A_FORM = 250


def as_it_is(question: str, _: random.Random) -> str:
    return question


def in_capitals_without_signs(question: str, _: random.Random) -> str:
    return re.sub(r"[^\w\s]", " ", question).upper()


def inside_an_answer(question: str, _: random.Random) -> str:
    return f"Somebody once asked me this. {question} I did not know what to say, and left."


def one_word_of_twenty_changed(question: str, chance: random.Random) -> str:
    words = question.split()
    for place in chance.sample(range(len(words)), max(1, len(words) // 20)):
        words[place] = "otherwise"
    return " ".join(words)


FORMS = (as_it_is, in_capitals_without_signs, inside_an_answer, one_word_of_twenty_changed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    files = suite_files(sorted(options.data.glob("bench-*")), by_recipe=False)
    suites = list(read_suites(files, Silent()))
    train = list(read_rows([options.data / "gsm8k" / "train.jsonl"], "auto"))
    started = time.perf_counter()
    clean = find_leaks(train, suites)
    seconds = time.perf_counter() - started
    long_enough = [
        row for row in suites if len(words_of(row.text)) >= FEWEST_RUN_WORDS and len(row.text) < 4000
    ]
    planted = {}
    for form in FORMS:
        chosen = chance.sample(long_enough, PLANTED_A_FORM)
        rows = [
            Row("prompt_completion", f"planted:{number}", prompt="Go on.", completion=form(row.text, chance))
            for number, row in enumerate(chosen)
        ]
        found = find_leaks([*train, *rows], suites)
        planted[form.__name__] = {
            "planted": len(rows),
            "found": found.counts.rows_leaking - clean.counts.rows_leaking,
            "kinds": found.counts.kinds,
        }
    result = {
        "rows": len(train), "suites": len(files), "questions": len(suites),
        "found_without_planting": clean.counts.rows_leaking,
        "pairs_without_planting": [pair.model_dump() for pair in clean.pairs[:10]],
        "planted": planted, "boilerplate_runs": clean.counts.boilerplate_runs,
        "seconds": round(seconds, 1), "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "load": os.getloadavg()[0], "cores": os.cpu_count(), "machine": platform.machine(),
    }  # fmt: skip
    text = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
    print(text, end="")
    if options.json:
        options.json.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
