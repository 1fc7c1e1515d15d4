"""How fast a model folder becomes a GGUF file beside a plain copy of its weights, and in how much memory.

    python bench/gguf/measure_writer.py --folder DIR [--gigabytes 4] [--rounds 5] [--source cold] [--out RESULT.json]

Makes a folder with random bf16 weights in Llama 3.1's shape of about that size. A round copies its weight file (`cp`, then fsync) and
writes it as each type, every file in a process of its own that says what it had resident at most; each file is on the disk (fsync)
before its clock stops, and is deleted before the next. What counts is the share within a pair, copy beside write, and the median of the
pairs: other users of the machine disturb both. `--source cold` drops the weights from the page cache before every clock starts, as a
model larger than the memory is; `warm` leaves them there.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

TYPES = ("BF16", "F16", "Q8_0", "Q4_0")


def make_folder(folder: Path, gigabytes: float) -> None:
    import numpy as np
    import torch
    from safetensors.torch import save_file
    from transformers import LlamaConfig, LlamaForCausalLM

    from tests.tiny import make_tiny_tokenizer

    vocabulary, hidden, inner = 32_000, 4096, 14336
    layer = hidden * hidden * 2 + hidden * hidden // 4 * 2 + 3 * hidden * inner
    layers = max(1, round((gigabytes * 1e9 / 2 - 2 * vocabulary * hidden) / layer))
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=8192,
    )
    with torch.device("meta"):
        shapes = {name: weight.shape for name, weight in LlamaForCausalLM(config).state_dict().items()}
    generator = np.random.default_rng(0)
    weights = {}
    for name, shape in shapes.items():
        numbers = generator.standard_normal(size=tuple(shape), dtype=np.float32) * 0.02
        weights[name] = torch.from_numpy(numbers).to(torch.bfloat16)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(folder)
    make_tiny_tokenizer().save_pretrained(folder)


def prepare_source(weights: Path, source: str) -> None:
    """Nothing waits to be written, and the weights are in the page cache or are not."""
    os.sync()
    with open(weights, "rb", buffering=0) as file:
        if source == "cold":
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            return
        buffer = bytearray(2**24)
        while file.readinto(buffer):
            pass


def copy(source: Path, target: Path) -> float:
    """Seconds of `cp` and an fsync."""
    begun = time.perf_counter()
    subprocess.run(["cp", "--reflink=never", source, target], check=True)
    with open(target, "rb+", buffering=0) as file:
        os.fsync(file.fileno())
    return time.perf_counter() - begun


def write_one(folder: Path, type: str, target: Path, source: str) -> dict[str, float]:
    """In this process: write one file; seconds and the peak of resident memory before and after."""
    from luthier.export.gguf.container import encode
    from luthier.export.gguf.write import write_gguf
    from luthier.floor.memory import peak_resident_bytes
    from luthier.knowledge.gguf_types import GGUF_TYPES
    from luthier.llamacpp.blocks import block_encoder
    from luthier.llamacpp.find import find_library
    from tests.export.gguf.writing import open_source

    opened = open_source(folder)
    library = find_library()
    encoder = block_encoder(library.path, encode) if library else encode
    before = peak_resident_bytes()
    prepare_source(folder / "model.safetensors", source)
    begun, used = time.perf_counter(), time.process_time()
    write_gguf(opened, GGUF_TYPES[type], target, encode=encoder)
    seconds = time.perf_counter() - begun
    return {
        "seconds": seconds,
        "cpu_seconds": time.process_time() - used,
        "file_bytes": target.stat().st_size,
        "peak_bytes_before": before,
        "peak_bytes": peak_resident_bytes(),
    }


def measure_pair(folder: Path, type: str, target: Path, source: str) -> dict[str, float]:
    """A copy, then a write, each on the disk before the next begins."""
    weights = folder / "model.safetensors"
    prepare_source(weights, source)
    copied = copy(weights, target)
    target.unlink()
    command = [sys.executable, __file__, "--folder", str(folder), "--one", type, "--source", source]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    target.unlink()
    return figures | {"copy_seconds": copied, "share_of_copy_speed": copied / figures["seconds"]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--source", choices=["cold", "warm"], default="cold")
    parser.add_argument("--types", nargs="+", default=TYPES)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", help="write this type only and print its figures")
    given = parser.parse_args()
    target = given.folder.with_name("measured.gguf")
    if given.one:
        print(json.dumps(write_one(given.folder, given.one, target, given.source)))
        return
    weights = given.folder / "model.safetensors"
    if not weights.is_file():
        make_folder(given.folder, given.gigabytes)
    pairs: dict[str, list[dict[str, float]]] = {type: [] for type in given.types}
    for _ in range(given.rounds):
        for type in given.types:
            pairs[type].append(measure_pair(given.folder, type, target, given.source))
    found: dict[str, Any] = {
        "weight_bytes": weights.stat().st_size,
        "source": given.source,
        "cpu_count": os.cpu_count(),
        "load_average": os.getloadavg(),
        "types": {
            type: {
                "median_share_of_copy_speed": statistics.median(pair["share_of_copy_speed"] for pair in made),
                "median_bytes_per_second": statistics.median(
                    weights.stat().st_size / pair["seconds"] for pair in made
                ),
                "peak_bytes": max(pair["peak_bytes"] for pair in made),
                "pairs": made,
            }
            for type, made in pairs.items()
        },
    }
    text = json.dumps(found, indent=2) + "\n"
    print(text)
    if given.out:
        given.out.write_text(text)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main()
