"""Count what the corpus comes to in tokens, source by source.

    python bench/embedded_base/count_tokens.py --corpus DIR --vocab-size 4096 --out tokenizer_DIR

Reads what corpus.py wrote, trains the tokenizer on every eighth document (25 MB in the mix's own shares), saves it and
prints one JSON object: tokens and characters per token of each source, estimated on every 25th document.
"""

import argparse
import json
import lzma
from pathlib import Path

from luthier.text.train_tokenizer import train_tokenizer

TOKENIZER_STRIDE = 8
COUNT_STRIDE = 25


def main() -> None:
    parser = argparse.ArgumentParser(description="Count the corpus in tokens.")
    parser.add_argument("--corpus", type=Path, required=True, help="folder that corpus.py wrote")
    parser.add_argument("--vocab-size", type=int, default=4096)
    parser.add_argument("--out", type=Path, required=True, help="folder for the tokenizer")
    arguments = parser.parse_args()
    texts = read_texts(arguments.corpus / "train.jsonl.xz")
    tokenizer = train_tokenizer(texts[::TOKENIZER_STRIDE], vocab_size=arguments.vocab_size)
    tokenizer.save_pretrained(arguments.out)

    def tokens_in(documents: list[str]) -> int:
        return sum(len(ids) for ids in tokenizer(documents)["input_ids"])

    facts: dict[str, dict[str, float]] = {}
    start = 0
    sources = json.loads((arguments.corpus / "corpus.json").read_text(encoding="utf-8"))["sources"]
    for name, source in sources.items():  # corpus.py writes the documents source after source
        sample = texts[start : start + source["train_documents"]][::COUNT_STRIDE]
        start += source["train_documents"]
        chars_per_token = sum(map(len, sample)) / tokens_in(sample)
        facts[name] = {
            "tokens": round(source["train_chars"] / chars_per_token),
            "chars_per_token": round(chars_per_token, 3),
        }
    assert start == len(texts), "corpus.json is of another corpus"
    validation = read_texts(arguments.corpus / "validation.jsonl.xz")
    tokens = tokens_in(validation)
    validation_bytes = sum(len(text.encode()) for text in validation)
    facts["validation"] = {"tokens": tokens, "bytes_per_token": round(validation_bytes / tokens, 3)}
    print(json.dumps(facts, indent=1))


def read_texts(path: Path) -> list[str]:
    with lzma.open(path, "rt", encoding="utf-8", newline="\n") as lines:
        return [json.loads(line)["text"] for line in lines]


if __name__ == "__main__":
    main()
