"""Write a model folder as one GGUF file of a plain type, under a temporary name that the caller gives.

A stopped or failed write leaves half a file there: whoever named it deletes it.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from luthier.export.gguf.architecture import Architecture, architecture_keys, plan_tensors
from luthier.export.gguf.container import (
    QUANTIZATION_VERSION,
    Encode,
    Key,
    encode,
    tensor_bytes,
    write_container,
)
from luthier.export.gguf.vocabulary import Vocabulary
from luthier.floor.files import disk_faults, sync_file
from luthier.floor.log import Listener, Silent
from luthier.floor.stop import StopFlag
from luthier.knowledge.gguf_types import TypeFacts

# Keys and padding; tokens and merges of 256,000 tokens take 15 MB.
BYTES_BESIDE_TENSORS = 32 * 2**20
MOST_WORKERS = 8
"""More than a disk can follow; each holds some pieces of 4 MiB."""
STOPPED = "the export was stopped; it left nothing behind"
REPEAT = "Repeat it: luthier export gguf"


@dataclass(frozen=True)
class Source:
    """A model folder, judged, with its tokenizer."""

    architecture: Architecture
    vocabulary: Vocabulary
    name: str
    """What the file calls itself."""


def plain_bytes(source: Source, type: TypeFacts) -> int:
    """How large the file becomes, at most."""
    tensors = plan_tensors(source.architecture, type)
    return BYTES_BESIDE_TENSORS + sum(tensor_bytes(tensor.shape, tensor.type) for tensor in tensors)


def write_gguf(
    source: Source,
    type: TypeFacts,
    path: Path,
    *,
    keys: Sequence[Key] = (),
    encode: Encode = encode,
    listener: Listener = Silent(),
    stop: StopFlag | None = None,
) -> None:
    """Write the file, with `keys` beside those that it needs, its blocks by `encode`, and bring it to the disk.

    Raises EnvironmentFault if the disk refuses, ModelError mdl-nan for a weight that cannot be written, and what StopFlag.check
    raises.
    """
    tensors = plan_tensors(source.architecture, type, encode=encode)
    total, written = sum(tensor_bytes(tensor.shape, tensor.type) for tensor in tensors), 0

    def on_written(piece_bytes: int) -> None:
        nonlocal written
        written += piece_bytes
        listener.progress(f"writing {type.name}", written, total)
        if stop is not None:
            stop.check(STOPPED, fix=REPEAT)

    all_keys = [
        Key("general.type", "model"),
        Key("general.name", source.name),
        Key("general.quantization_version", QUANTIZATION_VERSION),
        Key("general.file_type", type.file_type),
        *architecture_keys(source.architecture),
        *source.vocabulary.keys,
        *keys,
    ]
    name = source.architecture.family.architecture
    with disk_faults(path), _one_thread_each():
        write_container(
            path,
            name,
            all_keys,
            tensors,
            threads=min(os.cpu_count() or 1, MOST_WORKERS),
            on_written=on_written,
        )
        sync_file(path)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let torch work on the thread that calls it: several threads that each start others get into each other's way."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
