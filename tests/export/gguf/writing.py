"""Write a model folder as GGUF and let llama.cpp compute it, without a run around it."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from luthier.export.gguf.architecture import open_architecture
from luthier.export.gguf.vocabulary import read_vocabulary
from luthier.export.gguf.write import Source, write_gguf
from luthier.knowledge.gguf_types import GGUF_TYPES
from luthier.knowledge.model_folder import check_model_folder
from luthier.llamacpp.library import Library, open_model
from luthier.measure.parity import LogitDifference, compare_logits
from luthier.text.tokenizer import load_tokenizer


def open_source(folder: Path) -> Source:
    architecture = open_architecture(folder, check_model_folder(folder))
    vocabulary = read_vocabulary(
        load_tokenizer(folder), vocabulary_tokens=architecture.vocabulary_tokens, where=str(folder)
    )
    return Source(architecture, vocabulary, "tiny")


def write(folder: Path, type: str, path: Path) -> Path:
    write_gguf(open_source(folder), GGUF_TYPES[type], path)
    return path


@cache
def library(path: Path) -> Library:
    """llama.cpp in this process: the files are our own."""
    return Library(path)


def tokenize(library_path: Path, file: Path, texts: Sequence[str], *, begin: bool = False) -> list[list[int]]:
    with open_model(library(library_path), file, vocabulary_only=True) as model:
        return [model.tokenize(text, add_special=begin) for text in texts]


def compare(library_path: Path, folder: Path, file: Path, ids: Sequence[int]) -> LogitDifference:
    """The logits of Transformers and of llama.cpp at every position of one row."""
    with open_model(library(library_path), file) as model:
        model.start(context_tokens=len(ids), threads=1)
        logits_TV = np.stack(list(model.logits(ids, range(len(ids)))))
    reference = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.inference_mode():
        truth_TV = reference(torch.tensor([list(ids)])).logits[0].numpy()
    return compare_logits(truth_TV, logits_TV)
