"""What the scripts beside it share: the run that is exported, and the export as a user types it."""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def arguments(about: str | None, *, rows: int | None = None) -> argparse.Namespace:
    """`--run` and `--out`, and `--rows` where it has a default."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True)
    parser.add_argument("--out", type=Path, required=True)
    if rows is not None:
        parser.add_argument("--rows", type=int, default=rows, help="held-out rows to compare on")
    return parser.parse_args()


def export(run: str, *words: str) -> dict[str, Any]:
    """The report of `luthier export gguf`, with any divergence allowed where types are named."""
    program = Path(sys.executable).with_name("luthier")
    command = [program, "export", "gguf", "--run", run, *words, "--json"]
    report: dict[str, Any] = json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout
    )
    return report


def types_of(types: Any, rows: int) -> list[str]:
    """Words that ask for every type, whatever its divergence, compared on so many rows."""
    quants = [word for type in types for word in ("--quant", type)]
    return [*quants, "export.gguf.most_kl=100", f"merge.check_rows={rows}"]


def write(out: Path, result: Any) -> None:
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
