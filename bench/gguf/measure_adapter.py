"""How llama.cpp answers from a run's adapter over a GGUF file of its base, beside the base alone.

python bench/gguf/measure_adapter.py --run outputs/runs/latest --out bench/gguf/adapter.json
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

KEPT = (
    "base_type",
    "adapter_bytes",
    "base_bytes",
    "modules",
    "alpha",
    "rows_checked",
    "tokens_checked",
    "mean_kl",
    "kl_of_base_alone",
    "max_kl",
    "top1_agreement",
    "perplexity_before",
    "perplexity_after",
    "same_answer_share",
    "llama_cpp",
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    program = Path(sys.executable).with_name("luthier")
    command = [program, "export", "gguf", "--adapter", "--run", given.run, "--json"]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    given.out.write_text(json.dumps({key: report[key] for key in KEPT}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
