"""How llama.cpp answers from a run's adapter over a GGUF file of its base, beside the base alone.

python bench/gguf/measure_adapter.py --run outputs/runs/latest --out bench/gguf/adapter.json
"""

from exporting import arguments, export, write

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
    given = arguments(__doc__)
    report = export(given.run, "--adapter")
    write(given.out, {key: report[key] for key in KEPT})


if __name__ == "__main__":
    main()
