"""What an importance matrix is worth: the types of few bits of one finished run, with and without, on its held-out rows.

    python bench/gguf/measure_imatrix.py --run outputs/runs/latest --out bench/gguf/imatrix.json

Calibrated on 32 and on 128 training rows, the latter by three seeds. Every file is exported with `export.gguf.most_kl=100` and left in the run.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

TYPES = ("Q4_K_M", "Q3_K_M", "Q2_K")
KEPT = (
    "file_bytes",
    "tokens_checked",
    "mean_kl",
    "max_kl",
    "top1_agreement",
    "perplexity_after",
    "same_answer_share",
)
DRAWS = ((32, 0), (128, 0), (128, 1), (128, 2))


def export(run: str, rows: int, *settings: str) -> dict[str, Any]:
    quants = [word for type in TYPES for word in ("--quant", type)]
    program = Path(sys.executable).with_name("luthier")
    fixed = ["export.gguf.most_kl=100", f"merge.check_rows={rows}"]
    command = [program, "export", "gguf", "--run", run, *quants, *fixed, *settings, "--json"]
    report: dict[str, Any] = json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout
    )
    return report


def figures(file: dict[str, Any]) -> dict[str, Any]:
    return {key: file[key] for key in KEPT}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", required=True)
    parser.add_argument("--rows", type=int, default=128, help="held-out rows to compare on")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    plain = export(given.run, given.rows)
    result: dict[str, Any] = {
        "llama_cpp": plain["llama_cpp"],
        "held_out_rows": plain["rows_checked"],
        "without": {file["type"]: figures(file) for file in plain["files"] if not file["importance"]},
        "with": [],
    }
    for rows, seed in DRAWS:
        asked = ("--imatrix", f"export.gguf.calibration_rows={rows}", f"export.gguf.calibration_seed={seed}")
        weighed = [file for file in export(given.run, given.rows, *asked)["files"] if file["importance"]]
        draw = {key: weighed[0]["importance"][key] for key in ("rows", "tokens", "seed", "matrices")}
        result["with"].append(draw | {"types": {file["type"]: figures(file) for file in weighed}})
    given.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
