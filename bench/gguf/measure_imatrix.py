"""What an importance matrix is worth: the types of few bits of one finished run, with and without, on its held-out rows.

    python bench/gguf/measure_imatrix.py --run outputs/runs/latest --out bench/gguf/imatrix.json

Calibrated on 32 and on 128 training rows, the latter by three seeds. Every file is exported with `export.gguf.most_kl=100` and left in the run.
"""

from typing import Any

from exporting import arguments, export, types_of, write

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


def figures(file: dict[str, Any]) -> dict[str, Any]:
    return {key: file[key] for key in KEPT}


def main() -> None:
    given = arguments(__doc__, rows=128)
    asked = types_of(TYPES, given.rows)
    plain = export(given.run, *asked)
    result: dict[str, Any] = {
        "llama_cpp": plain["llama_cpp"],
        "held_out_rows": plain["rows_checked"],
        "without": {file["type"]: figures(file) for file in plain["files"] if not file["importance"]},
        "with": [],
    }
    for rows, seed in DRAWS:
        drawn = ("--imatrix", f"export.gguf.calibration_rows={rows}", f"export.gguf.calibration_seed={seed}")
        weighed = [file for file in export(given.run, *asked, *drawn)["files"] if file["importance"]]
        draw = {key: weighed[0]["importance"][key] for key in ("rows", "tokens", "seed", "matrices")}
        result["with"].append(draw | {"types": {file["type"]: figures(file) for file in weighed}})
    write(given.out, result)


if __name__ == "__main__":
    main()
