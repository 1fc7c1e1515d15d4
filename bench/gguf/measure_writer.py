"""How fast a model folder becomes a GGUF file, and in how much memory.

    python bench/gguf/measure_writer.py --folder DIR [--gigabytes 2] [--out RESULT.json]

Makes a folder with random bf16 weights in Llama 3.2's shape (a wide embedding and many layers) of about that size, copies its weight
file, then writes it as BF16, F16 and Q8_0, each in a process of its own that says what it had resident at most. Every file is on the disk
(fsync) before the clock stops. The files of one round are deleted before the next.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

BUFFER_BYTES = 16 * 2**20


def make_folder(folder: Path, gigabytes: float) -> None:
    import numpy as np
    import torch
    from safetensors.torch import save_file
    from transformers import LlamaConfig, LlamaForCausalLM

    from tests.tiny import make_tiny_tokenizer

    vocabulary, hidden, inner = 128_256, 2048, 8192
    layer = hidden * hidden * 2 + hidden * hidden // 4 * 2 + 3 * hidden * inner
    layers = max(1, round((gigabytes * 1e9 / 2 - vocabulary * hidden) / layer))
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=32,
        num_key_value_heads=8,
        tie_word_embeddings=True,
        max_position_embeddings=8192,
    )
    with torch.device("meta"):
        shapes = {name: weight.shape for name, weight in LlamaForCausalLM(config).state_dict().items()}
    generator = np.random.default_rng(0)
    weights = {}
    for name, shape in shapes.items():
        if name != "lm_head.weight":
            numbers = generator.standard_normal(size=tuple(shape), dtype=np.float32) * 0.02
            weights[name] = torch.from_numpy(numbers).to(torch.bfloat16)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(folder)
    make_tiny_tokenizer().save_pretrained(folder)


def copy(source: Path, target: Path) -> float:
    """Seconds to copy a file to the disk, read in pieces as the writer reads."""
    begun = time.perf_counter()
    with open(source, "rb", buffering=0) as read, open(target, "wb", buffering=0) as write:
        while piece := read.read(BUFFER_BYTES):
            write.write(piece)
        os.fsync(write.fileno())
    return time.perf_counter() - begun


def write_one(folder: Path, type: str, target: Path) -> dict[str, float]:
    """In this process: write one file; seconds and the peak of resident memory before and after."""
    from luthier.export.gguf.write import write_gguf
    from luthier.floor.memory import peak_resident_bytes
    from luthier.knowledge.gguf_types import GGUF_TYPES
    from tests.export.gguf.writing import open_source

    source = open_source(folder)
    before = peak_resident_bytes()
    begun, used = time.perf_counter(), time.process_time()
    write_gguf(source, GGUF_TYPES[type], target)
    seconds = time.perf_counter() - begun
    return {
        "seconds": seconds,
        "cpu_seconds": time.process_time() - used,
        "file_bytes": target.stat().st_size,
        "peak_bytes_before": before,
        "peak_bytes": peak_resident_bytes(),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", help="write this type only and print its figures")
    given = parser.parse_args()
    target = given.folder.with_name("measured.gguf")
    if given.one:
        print(json.dumps(write_one(given.folder, given.one, target)))
        return
    if not (given.folder / "model.safetensors").is_file():
        make_folder(given.folder, given.gigabytes)
    weights = given.folder / "model.safetensors"
    copies = []
    for _ in range(3):
        copies.append(copy(weights, target))
        target.unlink()
    found: dict[str, object] = {
        "weight_bytes": weights.stat().st_size,
        "copy_seconds": copies,
        "copy_bytes_per_second": weights.stat().st_size / min(copies),
        "cpu_count": os.cpu_count(),
    }
    for type in ("BF16", "F16", "Q8_0"):
        command = [sys.executable, __file__, "--folder", str(given.folder), "--one", type]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        figures = json.loads(done.stdout.splitlines()[-1])
        figures["share_of_copy_speed"] = min(copies) / figures["seconds"]
        found[type] = figures
        target.unlink()
    text = json.dumps(found, indent=2) + "\n"
    print(text)
    if given.out:
        given.out.write_text(text)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main()
