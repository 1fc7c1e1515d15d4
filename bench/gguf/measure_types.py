"""How far each type of GGUF file answers from the merged model, on one finished run.

    python bench/gguf/measure_types.py --run outputs/runs/latest --out bench/gguf/types.json

Exports every type with `export.gguf.most_kl=100`, so that types beyond their bound are measured too, and writes the figures of the
report beside the bound that each type has. The files are left in the run.
"""

import json
from pathlib import Path

from exporting import arguments, export, types_of, write

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
    given = arguments(__doc__, rows=32)
    report = export(given.run, *types_of(GGUF_TYPES, given.rows))
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
    write(given.out, result)


if __name__ == "__main__":
    main()
