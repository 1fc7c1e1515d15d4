"""Render all chat material of the shared data through six template styles, and count the rows whose two masks disagree.

    PYTHONPATH=. python bench/templates/prove.py --json bench/templates/prove.json

`--styles` takes a few of them. A disagreement anywhere is exit code 1. Rows that a template refuses (a system turn where it has none) are counted by its words.
`by_marks` counts the rows of many turns, and the first twenty of every file, whose mask was held against the one that Transformers
makes of the same template with `generation` marks.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from luthier.text.chat import as_messages
from luthier.text.render import Renderer
from luthier.text.row import Row
from tests.text.chat_material import shared_rows, verdicts
from tests.text.chat_styles import make_tokenizer
from tests.text.template_styles import LAST_ONLY, SIX
from tests.text.test_template_styles import check_against_marks

ROWS_A_FILE_BY_MARKS = 20


def judge(name: str, rows: list[tuple[str, Row]]) -> dict[str, Any]:
    """What became of every row in one style."""
    started = time.perf_counter()
    tokenizer = make_tokenizer(SIX[name])
    train_on = "last" if name in LAST_ONLY else "all"
    renderer = Renderer(tokenizer, template="chat", train_on=train_on)  # type: ignore[arg-type]
    found = verdicts(renderer, (row for _, row in rows))
    seen: Counter[str] = Counter()
    by_marks = 0
    for file, row in rows:
        seen[file] += 1
        if seen[file] > ROWS_A_FILE_BY_MARKS and len(as_messages(row)) < 3:
            continue
        if verdicts(renderer, [row])["rendered"]:
            check_against_marks(name, tokenizer, renderer, row)
            by_marks += 1
    return {
        "train_on": train_on,
        "rows": sum(found.values()),
        "rendered": found.pop("rendered"),
        "masks_that_disagree": sum(n for said, n in found.items() if said.startswith("data-mask")),
        "refused": dict(found),
        "by_marks": by_marks,
        "seconds": round(time.perf_counter() - started, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--styles", nargs="+", choices=SIX, default=list(SIX))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = list(shared_rows(Path(folder)))
    files = dict(sorted(Counter(file for file, _ in rows).items()))
    styles: dict[str, Any] = {}
    for name in arguments.styles:
        styles[name] = judge(name, rows)
        print(name, styles[name], file=sys.stderr, flush=True)
    report = {"rows": len(rows), "files": files, "styles": styles}
    text = json.dumps(report, indent=2, ensure_ascii=False)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")
    return 1 if any(style["masks_that_disagree"] for style in styles.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
