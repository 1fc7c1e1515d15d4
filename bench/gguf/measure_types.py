"""How far each type of GGUF file answers from the merged model, on one finished run.

    python bench/gguf/measure_types.py --run outputs/runs/latest --out bench/gguf/types.json

Exports every type with `export.gguf.most_kl=100`, so that types beyond their bound are measured too, and writes the figures of the
report beside the bound that each type has. The files are left in the run.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from luthier.knowledge.gguf_types import GGUF_TYPES

KEPT = (
    "file_bytes",
    "tokens_checked",
    "mean_kl",
    "max_kl",
    "top1_agreement",
    "perplexity_before",
    "perplexity_after",
    "same_answer_share",
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", required=True)
    parser.add_argument("--rows", type=int, default=32, help="held-out rows to compare on")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    quants = [word for type in GGUF_TYPES for word in ("--quant", type)]
    program = Path(sys.executable).with_name("luthier")
    settings = ["export.gguf.most_kl=100", f"merge.check_rows={given.rows}"]
    command = [program, "export", "gguf", "--run", given.run, *quants, *settings, "--json"]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    merge = json.loads((Path(report["source"]).parent / "report.json").read_text(encoding="utf-8"))
    result = {
        "llama_cpp": report["llama_cpp"],
        "merged_dtype": merge["dtype"],
        "rows": report["rows_checked"],
        "types": {
            file["type"]: {"most_kl": GGUF_TYPES[file["type"]].most_kl} | {key: file[key] for key in KEPT}
            for file in report["files"]
        },
    }
    given.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
