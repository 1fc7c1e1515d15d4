"""Measure reading and rendering in seconds of CPU: pairs by the guide, pairs as chats, and conversations of many turns.

    python bench/templates/speed.py --data FOLDER --json bench/templates/speed.json

FOLDER holds gsm8k/train.jsonl and oasst-sample/en_100_tree.jsonl. The tokenizer is trained here on the very rows, 8,000 tokens.
CPU of this process, the template's and the encoders' is counted, since other work on the machine changes the time by the clock.
The least of three rounds counts.
"""

import argparse
import gc
import json
import os
import platform
import resource
import tempfile
from pathlib import Path
from typing import Any

from luthier.data.convert.stage import Request, convert
from luthier.text.dialects.turns import Choices
from luthier.text.render import Renderer
from luthier.text.rows import read_rows
from luthier.text.train_tokenizer import train_tokenizer

ROUNDS = 3
BLOCK_ROWS = 2048


def cpu_seconds() -> float:
    """Of this process and of those that it started and that have ended."""
    gc.collect()
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def measure(path: Path, format: Any, template: Any, tokenizer: Any) -> dict[str, Any]:
    """The best round of reading and of rendering one file."""
    reading, rendering = [], []
    tokens = rows = 0
    for _ in range(ROUNDS):
        started = cpu_seconds()
        listed = list(read_rows([path], format))
        reading.append(cpu_seconds() - started)
        started = cpu_seconds()
        renderer = Renderer(tokenizer, template=template)
        blocks = [
            renderer.render_block(listed[at : at + BLOCK_ROWS]) for at in range(0, len(listed), BLOCK_ROWS)
        ]
        if hasattr(renderer, "close"):
            renderer.close()
        del renderer
        rendering.append(cpu_seconds() - started)
        rows, tokens = len(listed), sum(int(block.lengths_N.sum()) for block in blocks)
    return {
        "rows": rows,
        "tokens": tokens,
        "read_cpu_seconds": round(min(reading), 3),
        "render_cpu_seconds": round(min(rendering), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pairs, talks = folder / "gsm8k.jsonl", folder / "oasst.jsonl"
        with open(arguments.data / "gsm8k/train.jsonl", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        with open(pairs, "w", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps({"prompt": row["question"], "completion": row["answer"]}) + "\n")
        tree = arguments.data / "oasst-sample/en_100_tree.jsonl"
        convert(Request(source=tree, output=talks, choices=Choices(branches="all")))
        tokenizer = train_tokenizer(
            [path.read_text(encoding="utf-8") for path in (pairs, talks)], vocab_size=8000
        )
        found = {
            "gsm8k as pairs": measure(pairs, "prompt_completion", "guide", tokenizer),
            "gsm8k as chats": measure(pairs, "prompt_completion", "chat", tokenizer),
            "oasst, all branches": measure(talks, "messages", "chat", tokenizer),
        }
    report = {"machine": {"cores": os.cpu_count(), "python": platform.python_version()}, "measured": found}
    text = json.dumps(report, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
